"""Weight transfer: outputs equal those of the base model, and the report lists the loaded tensors."""

import re

import pytest
import torch
from instruments.ready_models import FAMILIES
from support.markdown import table_rows
from support.random_weights import randomize
from support.tiers import sampled
from ultralytics import YOLO

import yolo_attn as ya
from yolo_attn.host.loading import load_by_host
from yolo_attn.host.model import host_model_names, load_model_dict
from yolo_attn.host.model_files import shipped_models
from yolo_attn.models.graph import rows_of
from yolo_attn.weights.transfer import check_source

FEW = [
    "yolo11-ela.yaml",
    "yolo11-se-inside.yaml",
    "yolo26-ca-backbone.yaml",
    "yolo26-scse.yaml",
    "yolo26-lska-sppf.yaml",
    "yolov8-eca-inside.yaml",
    "yolov8-nl.yaml",
]
IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def bases():
    """Stock models of every family at scale n, with random weights and batch statistics that are not the defaults."""
    made = {}
    for family in (name for name in FAMILIES if f"{name}.yaml" in host_model_names()):
        torch.manual_seed(1)
        model = ya.YOLO(f"{family}n.yaml").model.train()
        with torch.no_grad():
            for _ in range(3):
                model(IMAGE)
        made[family] = model.eval()
    return made


def outputs(model, x=IMAGE):
    with torch.no_grad():
        found = model.eval()(x)
    return found[0] if isinstance(found, tuple) else found


def save(model, path):
    torch.save({"model": model, "train_args": {}}, path)
    return path


@pytest.mark.parametrize("name", sampled(sorted(shipped_models()), FEW))
def test_shipped_models_start_as_their_base(name, bases):
    base = bases[next(f for f in FAMILIES if name.startswith(f))]
    model = ya.YOLO(name.replace("-", "n-", 1)).model
    report = ya.transfer_weights(model, base)
    assert torch.equal(outputs(model), outputs(base)), name
    in_rows = not name.endswith(("-inside.yaml", "-sppf.yaml"))
    assert (len(report.new), report.missing, report.dropped) == (3 if in_rows else 0, [], ())
    assert bool(sum(r.inside for r in report.rows)) != in_rows
    loaded = sum(r.loaded for r in report.rows)
    assert loaded == sum(p.numel() for p in base.parameters())


def test_stock_loading_by_name_is_what_goes_wrong(bases):
    """Ultralytics' own loading by name gives other outputs than the base model, without an error."""
    model = YOLO("yolo11n-ela.yaml").model
    load_by_host(model, bases["yolo11"], verbose=False)
    assert not torch.allclose(outputs(model), outputs(bases["yolo11"]), atol=1e-3)


def test_every_tensor_lands_in_its_own_row(bases):
    made = ya.insert("yolo11n.yaml", "CA", at="backbone:P3,P5;neck:P4")
    model = ya.YOLO("yolo11n.yaml").model.__class__(made.yaml, verbose=False)
    ya.transfer_weights(model, bases["yolo11"])
    for i, j in made.row_map.items():
        for (name, mine), theirs in zip(
            model.model[j].state_dict().items(), bases["yolo11"].model[i].state_dict().values(), strict=True
        ):
            assert torch.equal(mine, theirs), f"row {i} -> {j}: {name}"


@pytest.mark.parametrize("nc", [1, 3, 200])
def test_another_number_of_classes_keeps_all_but_the_class_layers(nc, bases):
    model = ya.YOLO("yolo11n.yaml").model.__class__({**load_model_dict("yolo11n-ela.yaml"), "nc": nc}, verbose=False)
    report = ya.transfer_weights(model, bases["yolo11"])
    assert [r.name for r in report.missing] == ["Detect"]
    left = report.missing[0].left
    assert set(left) == {f"cv3.{i}.2.{p}" for i in range(3) for p in ("weight", "bias")}
    assert f"({nc}," in left["cv3.0.2.weight"]
    assert "80" in left["cv3.0.2.weight"]


def test_class_rows_follow_their_names(bases):
    from copy import deepcopy

    source = deepcopy(bases["yolo11"])
    source.names = {i: f"class {i}" for i in range(80)}
    model = source.__class__({**load_model_dict("yolo11n-ela.yaml"), "nc": 2}, verbose=False)
    model.names = {0: "class 7", 1: "new"}
    ya.transfer_weights(model, source)
    assert torch.equal(model.model[-1].cv3[0][-1].weight[0], source.model[-1].cv3[0][-1].weight[7])


def test_attention_rows_are_transferred_too(bases):
    trained = ya.YOLO("yolo11n-ca.yaml").model
    randomize(trained)
    again = ya.YOLO("yolo11n-ca.yaml").model
    report = ya.transfer_weights(again, trained)
    assert not report.new
    assert "3 attention rows transferred" in report.summary()
    assert torch.equal(outputs(again), outputs(trained))


def test_other_blocks_and_back_to_the_base(bases):
    source = ya.YOLO("yolo11n-ca.yaml").model
    ya.transfer_weights(source, bases["yolo11"])
    other = ya.YOLO("yolo11n-ela-backbone.yaml").model
    report = ya.transfer_weights(other, source)
    assert torch.equal(outputs(other), outputs(bases["yolo11"]))
    assert len(report.dropped) == 3
    plain = ya.YOLO("yolo11n.yaml").model
    ya.transfer_weights(plain, source)
    assert torch.equal(outputs(plain), outputs(bases["yolo11"]))


def test_a_detector_gives_a_segmenter_its_backbone_and_neck(bases, tmp_path):
    path = ya.insert("yolo11n-seg.yaml", "SE").save(tmp_path / "yolo11n-seg-se.yaml")
    report = ya.transfer_weights(ya.YOLO(path), bases["yolo11"])
    assert all(r.status == "loaded" for r in report.rows if not r.attention and r.name != "Segment")


def test_from_a_file_and_the_report_in_words(bases, tmp_path):
    path = save(bases["yolo11"], tmp_path / "base model.pt")
    model = ya.YOLO("yolo11n-ela.yaml")
    report = ya.transfer_weights(model, path)
    tensors = len(bases["yolo11"].state_dict())
    assert f"{tensors} of {tensors} tensors transferred; 3 new attention rows with 4,032 parameters" in report.summary()
    assert "\n" not in report.summary()
    lines = str(report).splitlines()
    assert len(lines) == 1 + len(rows_of(model.model.yaml)) + 1
    assert lines[1 + 18].split() == ["18", "17", "Conv", "36992/36992", "loaded"]
    assert lines[1 + 17].split() == ["17", "-", "ELA", "0/576", "new"]


def test_the_source_is_left_as_it_was(bases):
    before = {k: v.clone() for k, v in bases["yolo11"].state_dict().items()}
    rows = [type(m) for m in bases["yolo11"].model]
    ya.transfer_weights(ya.YOLO("yolo11n-ela.yaml"), bases["yolo11"])
    assert [type(m) for m in bases["yolo11"].model] == rows
    assert all(torch.equal(v, before[k]) for k, v in bases["yolo11"].state_dict().items())


@pytest.mark.slow
def test_the_table_of_what_insertion_does(bases, scenes, tmp_path):
    from instruments.insertion_table import measure, to_markdown

    path = save(bases["yolo11"], tmp_path / "yolo11n.pt")
    cases = measure("yolo11n.yaml", str(path), str(scenes), imgsz=32, batch=8)
    assert [c["tensors"][0] for c in cases] == [499, 288, 499, 499, 94, *[499] * 8]
    base, identity = cases[0], [c for c in cases if "identity" in c["loading"]]
    assert len(identity) == 4
    assert all(c["mAP50-95"] == base["mAP50-95"] for c in identity)
    rows = [row[:3] for row in table_rows(to_markdown(cases))]
    assert ["yolo11n + ELA in the neck", "stock loading", "288 of 499"] in rows


# --- inside host blocks -----------------------------------------------------------------------------------------------
def built(made, tmp_path, name="yolo11n-made.yaml"):
    return ya.YOLO(made.save(tmp_path / name)).model


@pytest.mark.parametrize("inside", ["C3k2@inner", "C3k2@outer", "SPPF,C2PSA", "SPPF@concat"])
def test_blocks_inside_start_as_the_base_and_leave_it_again(inside, bases, tmp_path):
    base = bases["yolo11"]
    model = built(ya.insert("yolo11n.yaml", "CA", inside=inside, init="identity"), tmp_path)
    report = ya.transfer_weights(model, base, strict=True)
    assert torch.equal(outputs(model), outputs(base))
    assert sum(r.loaded for r in report.rows) == sum(p.numel() for p in base.parameters())
    assert sum(r.inside for r in report.rows) == sum(p.numel() for p in model.parameters()) - sum(
        p.numel() for p in base.parameters()
    )
    assert not any(r.inside_loaded for r in report.rows)
    assert "blocks inside" in report.summary()
    plain = ya.YOLO("yolo11n.yaml").model
    back = ya.transfer_weights(plain, model, strict=True)
    assert torch.equal(outputs(plain), outputs(base))
    assert all(d.startswith("CA inside row") for d in back.dropped)
    assert back.dropped


def test_blocks_inside_are_transferred_to_the_same_places(bases, tmp_path):
    made = ya.insert("yolo11n.yaml", "CA", inside="C3k2")
    trained, again = randomize(built(made, tmp_path)), built(made, tmp_path)
    report = ya.transfer_weights(again, trained, strict=True)
    assert torch.equal(outputs(again), outputs(trained))
    assert all(r.inside_loaded == r.inside for r in report.rows)
    again = built(made, tmp_path)
    ya.transfer_weights(again, trained.state_dict(), strict=True)
    assert torch.equal(outputs(again), outputs(trained))


def test_another_block_inside_takes_nothing_from_the_one_before(bases, tmp_path):
    """SE and cSE have layers of the same names; of equal shapes with these settings."""
    trained = randomize(built(ya.insert("yolo11n.yaml", "SE", inside="C3k2", reduction=2), tmp_path))
    other = built(ya.insert("yolo11n.yaml", "cSE", inside="C3k2", reduction=2), tmp_path)
    before = {k: v.clone() for k, v in other.state_dict().items() if "attention" in k}
    assert {k: v.shape for k, v in before.items()} == {
        k: v.shape for k, v in trained.state_dict().items() if "attention" in k
    }
    report = ya.transfer_weights(other, trained, strict=True)
    assert all(torch.equal(other.state_dict()[k], v) for k, v in before.items())
    assert not any(r.inside_loaded for r in report.rows)
    assert "SE inside row 2 C3k2" in report.dropped


# --- rows by role -----------------------------------------------------------------------------------------------------
def sources(report):
    return {r.row: r.source for r in report.rows if r.tensors}


def test_attention_finds_its_own_place_among_others_of_its_kind(tmp_path):
    """A block for the head's P4 alone goes to that of P4 where every level has one, and not to the first."""
    only = randomize(built(ya.insert("yolo11n.yaml", "SE", at="pre-detect"), tmp_path))
    some = ya.insert("yolo11n.yaml", [("SE", "pre-detect"), ("SE", "neck:P4"), ("ECA", "neck:P4")])
    model = built(some, tmp_path)
    report = ya.transfer_weights(model, only)
    source = sources(report)
    rows = [r for r in report.rows if r.name == "SE"]
    assert [(r.row, source[r.row]) for r in rows] == [(20, None), (25, 23), (26, 24), (27, 25)]
    assert torch.equal(model.model[26].squeeze.weight, only.model[24].squeeze.weight)
    assert source[21] is None  # the ECA


def test_the_same_block_elsewhere_is_not_the_same_block(tmp_path):
    source = built(ya.insert("yolo11n.yaml", "SE", at="neck:P4"), tmp_path)
    for at in ("neck:P5", "before:23", "before:20"):  # another row; for the head alone; for the next row alone
        report = ya.transfer_weights(built(ya.insert("yolo11n.yaml", "SE", at=at), tmp_path), source)
        assert [d for d in report.dropped if "SE" in d] == ["row 20 SE"], at
        assert all(r.source is None for r in report.rows if r.attention), at


def test_rows_are_matched_by_role_where_models_differ():
    """yolov8 to its P2 variant: three rows are new, the later ones are those of the same level."""
    source, target = YOLO("yolov8n.yaml").model, YOLO("yolov8n-p2.yaml").model
    found = sources(ya.transfer_weights(target, source))
    neck = {22: 16, 24: 18, 25: 19, 27: 21, 28: 22}
    assert found == {i: i for i in (*range(10), 12, 15)} | {18: None, 19: None, 21: None} | neck


def test_a_row_of_the_same_shape_at_another_level_is_not_its_counterpart():
    """yolov8n's C2f of P5 and the one of P6 in the P6 variant have the same tensors, and different work."""
    from yolo_attn.weights.align import align, layers_of

    source, target = layers_of(YOLO("yolov8n.yaml").model), layers_of(YOLO("yolov8n-p6.yaml").model)
    assert source.rows[8].signature == target.rows[10].signature
    assert align(source, target)[10] is None


@pytest.mark.parametrize(
    ("given", "taken", "whole"),
    [
        ("yolo11n.yaml", "yolo11n-cls.yaml", {0, 4, 9}),
        ("yolo11n-cls.yaml", "yolo11n-ela.yaml", {0, 4, 10}),
        ("yolo26n.yaml", "yolo26n-sem.yaml", {0, 10, 16}),
        ("yolo11n-ela.yaml", "yolo11n-pose.yaml", {0, 10, 22}),
        ("yolo26n-p2.yaml", "yolo26n.yaml", {0, 10, 16}),
    ],
)
def test_other_tasks_give_what_they_share(given, taken, whole):
    report = ya.transfer_weights(ya.YOLO(taken), ya.YOLO(given))
    loaded = {r.row for r in report.loaded}
    assert whole <= loaded
    assert all(not r.loaded for r in report.new)


def test_world_models_come_over_whole(tmp_path):
    made = ya.insert("yolov8n-world.yaml", "SE", at="neck:all", init="identity")
    model = ya.YOLO(made.save(tmp_path / "yolov8n-world-se.yaml")).model
    base = YOLO("yolov8n-world.yaml").model
    assert type(model).__name__ == "WorldModel"
    ya.transfer_weights(model, base, strict=True)
    model.txt_feats = base.txt_feats
    assert torch.equal(outputs(model), outputs(base))


# --- state dicts ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model.model."])
def test_a_state_dict_is_enough(prefix, bases, tmp_path):
    state = {f"{prefix}{k}": v for k, v in bases["yolo11"].state_dict().items()}
    given = {"dict": state, "checkpoint": {"model": state}, "file": tmp_path / "weights.pt", "pth": tmp_path / "w.pth"}
    torch.save(state, given["file"])
    torch.save({"state_dict": state}, given["pth"])
    for what, source in given.items():
        model = ya.YOLO("yolo11n-ela-backbone.yaml").model
        report = ya.transfer_weights(model, source, strict=True)
        assert torch.equal(outputs(model), outputs(bases["yolo11"])), what
        assert [r.name for r in report.new] == ["ELA"] * 3


def test_a_state_dict_with_attention(tmp_path):
    trained = randomize(ya.YOLO("yolo11n-ca.yaml").model)
    again = ya.YOLO("yolo11n-ca.yaml").model
    ya.transfer_weights(again, trained.state_dict(), strict=True)
    assert torch.equal(outputs(again), outputs(trained))
    plain = ya.YOLO("yolo11n.yaml").model
    report = ya.transfer_weights(plain, trained.state_dict())
    assert len(report.dropped) == 3
    assert all(r.status == "loaded" for r in report.rows if r.tensors)


@pytest.mark.parametrize("other", ["yolov8n.yaml", "yolo11s.yaml", "yolov8n-p6.yaml"])
def test_the_state_dict_of_another_architecture_is_refused(other):
    with pytest.raises(ya.YoloAttnError, match="another architecture or scale"):
        ya.transfer_weights(ya.YOLO("yolo11n-ela.yaml"), YOLO(other).model.state_dict())


@pytest.mark.parametrize("given", [{"a": torch.zeros(1)}, {"conv.weight": torch.zeros(1)}, {}, {"model": None}])
def test_what_is_no_state_dict(given):
    with pytest.raises(ya.YoloAttnError, match="holds no YOLO model"):
        ya.transfer_weights(ya.YOLO("yolo11n.yaml"), given)


# --- strict -----------------------------------------------------------------------------------------------------------
def test_strict_refuses_what_does_not_fit_and_changes_nothing(bases):
    base = bases["yolo11"]
    without_psa = load_model_dict("yolo11n.yaml")
    without_psa["backbone"][10] = [-1, 1, "nn.Identity", []]
    cases = {
        r"row 26 Detect: cv3\.0\.0\.1\.conv\.weight: \(80, .*\) in the source, \(64, .*\) here": (
            base.__class__({**load_model_dict("yolo11n-ela.yaml"), "nc": 3}, verbose=False),
            base,
        ),
        r"row 23 Segment: .* not in the source": (ya.YOLO("yolo11n-seg.yaml").model, base),
        r"row 9 SPPF: not in the source": (ya.YOLO("yolo11n.yaml").model, YOLO("yolo11n-cls.yaml").model),
        r"row 10 Classify: not in the source and 8 more": (ya.YOLO("yolo11n-cls.yaml").model, base),
        r"strictly: not used: row 10 C2PSA$": (base.__class__(without_psa, verbose=False), base),
    }
    for says, (model, source) in cases.items():
        before = {k: v.clone() for k, v in model.state_dict().items()}
        for attempt in (check_source, ya.transfer_weights):
            with pytest.raises(ya.YoloAttnError, match="do not fit strictly: ") as caught:
                attempt(model, source, strict=True)
            assert re.search(says, str(caught.value)), str(caught.value)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_strict_refuses_attention_of_the_same_place_that_does_not_fit(tmp_path):
    made = [ya.insert("yolo11n.yaml", "SE", at="neck:P3", reduction=r) for r in (8, 4)]
    source, model = (built(m, tmp_path) for m in made)
    with pytest.raises(ya.YoloAttnError, match=r"row 17 SE: squeeze.weight: \(8, 64\) in the source, \(16, 64\) here"):
        ya.transfer_weights(model, source, strict=True)


# --- what cannot be used ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("other", ["yolov8n.yaml", "yolo11s.yaml", "yolov5n.yaml"])
def test_another_architecture_or_scale_is_refused_and_changes_nothing(other):
    model = ya.YOLO("yolo11n-ela.yaml").model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for attempt in (check_source, ya.transfer_weights):
        with pytest.raises(ya.YoloAttnError, match=r"another architecture or scale: only [0-9]+%"):
            attempt(model, YOLO(other).model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_model_fused_for_inference_is_refused():
    with pytest.raises(ya.YoloAttnError, match="fused for inference"):
        ya.transfer_weights(ya.YOLO("yolo11n-ela.yaml"), YOLO("yolo11n.yaml").model.fuse(verbose=False))


def test_files_that_cannot_be_read(bases, tmp_path):
    whole = save(bases["yolo11"], tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    torch.save({"model": {"a": 1}}, tmp_path / "dict.pt")
    model = ya.YOLO("yolo11n-ela.yaml")
    for name in ("cut.pt", "empty.pt", "text.pt", "dict.pt"):
        with pytest.raises(ya.YoloAttnError, match=name):
            ya.transfer_weights(model, tmp_path / name)
    with pytest.raises(ya.YoloAttnError, match=r"no weights at .*none\.pt"):
        ya.transfer_weights(model, tmp_path / "none.pt")
    with pytest.raises(ya.YoloAttnError, match=r"not a \.pt checkpoint"):
        ya.transfer_weights(model, "weights.onnx")
    with pytest.raises(ya.YoloAttnError, match="holds no YOLO model"):
        ya.transfer_weights(model, torch.nn.Linear(1, 1))


def test_real_weights_arrive_whole(pretrained):
    base, model = YOLO(pretrained), ya.YOLO("yolo11n-ela.yaml")
    report = ya.transfer_weights(model, pretrained)
    assert "499 of 499 tensors" in report.summary()
    assert torch.equal(outputs(model.model), outputs(base.model))
