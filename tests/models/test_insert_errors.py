"""Insertions that are refused, and what their errors say."""

import pytest
import yaml

import yolo_attn as ya
from yolo_attn.host.model import load_model_dict


@pytest.mark.parametrize(
    ("inside", "at", "says"),
    [
        ("C3k", None, "unknown host block 'C3k'. Did you mean 'C3k2'.*C2PSA"),
        ("C3k2", "sppf", "'sppf' is row 9, a SPPF; rows of C3k2: 2, 4"),
        ("C2PSA", "neck", "no row of C2PSA at 'neck'; they are rows 10"),
        ("C3k2@middle", None, "unknown place 'middle'"),
        ("SPPF@inner", None, "SPPF has no residual branch inside"),
        (
            "C3k2@concat",
            None,
            "row 2 .*C3k2 has no concatenation that can be gated; hosts of @concat are SPP, SPPF",
        ),
        ("Detect", None, "unknown host block 'Detect'"),
        ("nn.Upsample", None, "unknown host block 'nn.Upsample'"),
    ],
)
def test_a_host_block_that_cannot(inside, at, says):
    with pytest.raises(ya.YoloAttnError, match=says):
        ya.insert("yolo11n.yaml", "ELA", inside=inside, at=at)


def test_rows_without_a_feature_map_are_refused():
    with pytest.raises(ya.YoloAttnError, match=r"row 10 \(CBLinear\) gives no feature map"):
        ya.insert("yolov9e.yaml", "SE", at="after:10")
    with pytest.raises(ya.YoloAttnError, match=r"row 16 \(ImagePoolingAttn\) gives no feature map"):
        ya.insert("yolov8n-world.yaml", "SE", at="after:16")


def test_a_model_without_the_role_says_which_it_has():
    with pytest.raises(ya.YoloAttnError, match=r"no SPPF row; it has backbone:P1,.*, neck:P3,P4,P5, pre-"):
        ya.insert("yolo12n.yaml", "SE", at="sppf")


def test_a_width_no_block_can_take_is_found_at_every_scale():
    with pytest.raises(ya.YoloAttnError, match=r"row 17 .*groups=48 does not divide channels=64"):
        ya.insert("yolo11.yaml", "SGE", at="neck:P3", groups=48)
    with pytest.raises(ya.YoloAttnError, match=r"row 2 .*groups=128 does not divide channels=32"):
        ya.insert("yolo11s.yaml", "SGE", inside="C3k2", groups=128)
    assert ya.insert("yolo11x.yaml", "SGE", at="neck:P3", groups=48).new_rows == (17,)


def test_the_name_of_a_file_must_not_state_another_scale(tmp_path):
    made = ya.insert("yolo11s.yaml", "SE")
    for name in ("yolo11n-mine.yaml", "yolo11mine.yaml"):
        with pytest.raises(ya.YoloAttnError, match=f"{name}.*the base is of scale 's'"):
            made.save(tmp_path / name)
    with pytest.raises(ya.YoloAttnError, match=r"must end in \.yaml"):
        made.save(tmp_path / "yolo11s-mine")
    for name in ("yolo11s-mine.yaml", "plain.yaml"):
        model = ya.YOLO(made.save(tmp_path / name)).model
        assert model.model[17].channels == 128, name


@pytest.mark.parametrize("model", [{}, {"backbone": [], "head": []}, {"backbone": [[-1, 1]], "head": []}, {"nc": 3}])
def test_what_is_not_a_model(model, tmp_path):
    path = tmp_path / "yolo11n-wrong.yaml"
    path.write_text(yaml.safe_dump(model))
    for base in (model, path):
        with pytest.raises(ya.YoloAttnError, match=r"not a model|a row is"):
            ya.insert(base, "SE", at="sppf")


def test_a_model_that_cannot_be_built_or_run_says_where():
    model = load_model_dict("yolo11n.yaml")
    model["head"][1][0] = [-1, 4]  # joins maps of different size
    with pytest.raises(ya.YoloAttnError, match=r"row 12 \(.*Concat\) cannot run on what row \[-1, 4\] gives"):
        ya.insert(model, "SE")
    model = load_model_dict("yolo11n.yaml")
    model["backbone"][1][3] = []
    with pytest.raises(ya.YoloAttnError, match="this model cannot be built: IndexError"):
        ya.insert(model, "SE")


def test_a_malformed_list_of_blocks():
    with pytest.raises(ya.YoloAttnError, match=r"give \(name, at\)"):
        ya.insert("yolo11n.yaml", ["SE", "ELA"])


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("neck:P2", "neck has no P2; it has P3, P4, P5"),
        ("nek:P3", "Did you mean 'neck'"),
        ("neck", "cannot insert at 'neck': 'neck' needs levels or rows .as in neck:P3,P4,P5"),
        ("after:", "'after' needs levels or rows"),
        ("pre-detect:P3", "cannot insert at 'pre-detect:P3': 'pre-detect' takes no levels or rows"),
        ("sppf; before:24", "cannot insert before row 24: rows 0 to 23"),
        ("after:99", "cannot insert after row 99: rows 0 to 22"),
        ("after:23", "rows 0 to 22"),
        ("after:-1", "rows 0 to 22"),
    ],
)
def test_a_wrong_place_says_which_exist(at, says):
    with pytest.raises(ya.YoloAttnError, match=says):
        ya.insert("yolo11n.yaml", "ELA", at=at)


def test_a_classifier_has_no_neck():
    with pytest.raises(ya.YoloAttnError, match="no neck"):
        ya.insert("yolo11n-cls.yaml", "ELA")


def test_wrong_block_or_hyper_parameter():
    with pytest.raises(ya.YoloAttnError, match="Did you mean 'ELA'"):
        ya.insert("yolo11n.yaml", "ELLA")
    with pytest.raises(ya.YoloAttnError, match="Did you mean 'variant'"):
        ya.insert("yolo11n.yaml", "ELA", varient="L")
