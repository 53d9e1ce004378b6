"""Insertion: every other row reads what it read, checked by following values through the built graph."""

from copy import deepcopy

import pytest
import torch
import yaml
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.graph import rows_of
from yolo_attn.model_files import shipped_models
from yolo_attn.model_yaml import check_roles, find_roles
from yolo_attn.ready_models import BACKBONE_BLOCKS, FAMILIES, ready_models, write_ready_models
from yolo_attn.registration import load_model_dict
from yolo_attn.registry import SHIPPED_ALIASES, is_attention


def build(model, scale):
    with torch.device("meta"):
        return tasks.parse_model({**deepcopy(model), "scale": scale}, ch=3, verbose=False)


def provenance(layers, saved):
    """Run a built model on names instead of tensors: what every stock row reads, attention rows being transparent."""
    kept, reads, stock, x = {}, [], 0, "image"
    for layer in layers:
        if layer.f != -1:
            assert all(f == -1 or f in saved for f in ([layer.f] if isinstance(layer.f, int) else layer.f))
            x = kept[layer.f] if isinstance(layer.f, int) else [x if f == -1 else kept[f] for f in layer.f]
        if is_attention(layer):
            assert isinstance(x, str)
        else:
            reads.append((type(layer).__name__, x))
            x, stock = f"row {stock}", stock + 1
        kept[layer.i] = x
    return reads


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_models_read_the_same_roles_as_stock(name):
    family = next(f for f in FAMILIES if name.startswith(f))
    stock, ours = load_model_dict(f"{family}.yaml"), load_model_dict(name)
    for scale in "nsmlx":
        layers, saved = build(ours, scale)
        base_layers, base_saved = build(stock, scale)
        assert provenance(layers, saved) == provenance(base_layers, base_saved), f"{name} at scale {scale}"
        base = [m for m in layers if not is_attention(m)]
        assert [m.np for m in base] == [m.np for m in base_layers], f"{name} at scale {scale}"
        assert sum(map(is_attention, layers)) == 3


def test_every_block_ships_for_every_family():
    expected = {f"{f}-{b.lower()}.yaml" for f in FAMILIES for b in SHIPPED_ALIASES}
    expected |= {f"{f}-{b.lower()}-backbone.yaml" for f in FAMILIES for b in BACKBONE_BLOCKS}
    assert set(shipped_models()) == expected == {name for name, *_ in ready_models()}


def test_shipped_files_are_what_the_generator_writes(tmp_path):
    for path in write_ready_models(tmp_path):
        shipped = shipped_models()[path.name]
        assert path.read_text() == shipped.read_text(), f"{path.name} has drifted: run python tools/make_models.py"


def test_comments_state_rows_and_roles():
    text = shipped_models()["yolo11-ela.yaml"].read_text()
    for line in (
        "- [-1, 1, Conv, [64, 3, 2]] # 0-P1/2",
        "- [[-1, 6], 1, Concat, [1]] # 12 cat backbone P4",
        "- [-1, 1, ELA, [{init: identity}]] # 17 (P3/8-small)",
        "- [-1, 1, ELA, [{init: identity}]] # 25 (P5/32-large)",
        "- [[17, 21, 25], 1, Detect, [nc]] # Detect(P3, P4, P5)",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("name", "backbone", "neck"),
    [
        ("yolov8n.yaml", {"P3": 4, "P4": 6, "P5": 9}, {"P3": 15, "P4": 18, "P5": 21}),
        ("yolo11n.yaml", {"P3": 4, "P4": 6, "P5": 10}, {"P3": 16, "P4": 19, "P5": 22}),
        ("yolo26n.yaml", {"P3": 4, "P4": 6, "P5": 10}, {"P3": 16, "P4": 19, "P5": 22}),
        ("yolov8n-p2.yaml", {"P5": 9}, {"P2": 18, "P3": 21, "P4": 24, "P5": 27}),
        ("yolov8n-p6.yaml", {"P6": 11}, {"P3": 20, "P4": 23, "P5": 26, "P6": 29}),
        ("yolov8n-seg.yaml", {"P5": 9}, {"P3": 15, "P4": 18, "P5": 21}),
        ("yolo11n-cls.yaml", {"P5": 9}, {}),
    ],
)
def test_roles_are_where_the_stock_comments_put_them(name, backbone, neck):
    roles = find_roles(load_model_dict(name))
    assert roles["neck"] == neck
    assert backbone.items() <= roles["backbone"].items()


def test_inserting_shifts_exactly_what_it_must():
    made = ya.insert("yolov8n.yaml", "SE", at="after:4;neck:P5", reduction=8)
    rows = rows_of(made.yaml)
    assert made.new_rows == (5, 23)
    assert rows[5] == [-1, 1, "SE", [{"reduction": 8}]]
    assert rows[15] == [[-1, 5], 1, "Concat", [1]]  # read row 4, now through the block after it
    assert rows[21] == [[-1, 10], 1, "Concat", [1]]  # read row 9
    assert rows[24][0] == [16, 19, 23]
    assert made.row_map[22] == 24
    assert "+   5  [-1, 1, SE, [{reduction: 8}]]" in str(made)


def test_a_model_dict_is_not_changed():
    base = load_model_dict("yolo11n.yaml")
    before = deepcopy(base)
    ya.insert(base, "ELA")
    assert base == before


def test_a_second_block_goes_behind_the_first():
    once = ya.insert("yolo11n.yaml", "SE", at="neck:P3")
    twice = ya.insert(once.yaml, "ELA", at=f"after:{once.new_rows[0]}")
    assert [rows_of(twice.yaml)[i][2] for i in (16, 17, 18)] == ["C3k2", "SE", "ELA"]
    assert provenance(*build(twice.yaml, "n")) == provenance(*build(load_model_dict("yolo11n.yaml"), "n"))


def test_the_role_check_finds_an_index_that_was_not_shifted():
    made = ya.insert("yolo11n.yaml", "SE", at="neck:P3")
    made.yaml["head"][-1][0][1] -= 1
    with pytest.raises(ya.YoloAttnError, match="Detect"):
        check_roles(made)


def test_saving_and_reading_gives_the_same_rows(tmp_path):
    made = ya.insert("yolo26s.yaml", "scSE", at="backbone:P5", combine="max")
    path = made.save(tmp_path / "new folder" / "yolo26-mine.yaml")
    read = yaml.safe_load(path.read_text())
    assert rows_of(read) == rows_of(made.yaml)
    assert {k: read[k] for k in ("nc", "end2end", "reg_max", "scales")} == {
        k: made.yaml[k] for k in ("nc", "end2end", "reg_max", "scales")
    }


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("neck:P2", "neck has no P2: .*Allowed: P3, P4, P5"),
        ("nek:P3", "Did you mean 'neck'"),
        ("neck", "cannot insert at 'neck'"),
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
