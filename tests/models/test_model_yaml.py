"""Insertion: all other rows keep their sources, checked by tracing values through the built model."""

import functools
import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from instruments.ready_models import ELSEWHERE, FAMILIES, ready_models, write_ready_models
from support.tiers import sampled
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host.gated import blocks_inside, host_class
from yolo_attn.host.model import host_model_names, load_model_dict
from yolo_attn.host.model_files import shipped_models
from yolo_attn.host.registry import SHIPPED_ALIASES, is_attention
from yolo_attn.models.graph import Graph, rows_of
from yolo_attn.models.insert import check_roles


def build(model, scale):
    with torch.device("meta"):
        return tasks.parse_model({**deepcopy(model), "scale": scale}, ch=3, verbose=False)


@functools.cache
def stock_build(name, scale):
    """Build a stock model once for all comparisons with it."""
    return build(load_model_dict(name), scale)


def provenance(layers, saved):
    """Trace a built model with names instead of tensors: the sources of every stock row, through attention rows."""
    kept, reads, stock, x = {}, [], 0, "image"
    for layer in layers:
        if layer.f != -1:
            given = [f % layer.i if f < -1 else f for f in ([layer.f] if isinstance(layer.f, int) else layer.f)]
            assert all(f == -1 or f in saved for f in given)
            x = [x if f == -1 else kept[f] for f in given]
            x = x[0] if isinstance(layer.f, int) else x
        if is_attention(layer):
            assert isinstance(x, str)
        else:
            reads.append((host_class(layer).__name__, x))
            x, stock = f"row {stock}", stock + 1
        kept[layer.i] = x
    return reads


@pytest.mark.contract("ready models")
@pytest.mark.parametrize("scales", sampled(["nx", "sml"], ["nx"]))
@pytest.mark.parametrize("name", sampled(sorted(shipped_models()), lambda name: name.startswith("yolo11"), "slow"))
def test_shipped_models_read_the_same_roles_as_stock(name, scales):
    family = next(f for f in FAMILIES if name.startswith(f))
    if f"{family}.yaml" not in host_model_names():
        with pytest.raises(ya.YoloAttnError, match=f"made of {family}.yaml, which"):
            ya.YOLO(name.replace(family, f"{family}n"))
        return
    ours = load_model_dict(name)
    model = {model.name: model for model in ready_models()}[name]
    block, in_rows = ya.ATTENTION_BLOCKS[model.block], model.place in ("neck", "backbone")
    for scale in scales:
        layers, saved = build(ours, scale)
        base_layers, base_saved = stock_build(f"{family}.yaml", scale)
        assert provenance(layers, saved) == provenance(base_layers, base_saved), f"{name} at scale {scale}"
        base = [m for m in layers if not is_attention(m)]
        own = [sum(p.numel() for k, p in m.named_parameters() if "attention" not in k.split(".")) for m in base]
        assert own == [sum(p.numel() for p in m.parameters()) for m in base_layers], f"{name} at scale {scale}"
        assert any(type(m) is block for layer in layers for m in layer.modules())
        assert sum(map(is_attention, layers)) == (3 if in_rows else 0)
        assert bool(blocks_inside(layers)) != in_rows


def test_every_block_ships_for_every_family():
    expected = {f"{f}-{b.lower()}.yaml" for f in FAMILIES for b in SHIPPED_ALIASES}
    expected |= {f"{f}-{b.lower()}-{p}.yaml" for f in FAMILIES for p, blocks in ELSEWHERE.items() for b in blocks}
    assert set(shipped_models()) == expected == {model.name for model in ready_models()}


@pytest.mark.slow
def test_shipped_files_are_what_the_generator_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("yolo_attn.models.insert.build_shapes", lambda *_: None)  # each is built above, at every scale
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


# --- every stock model ------------------------------------------------------------------------------------------------
NEEDS_DOWNLOAD = {"yolo11-cls-resnet18.yaml"}
STOCK = sorted(set(host_model_names()) - NEEDS_DOWNLOAD)
FEW = ["rtdetr-l", "yolo11", "yolo12", "yolo26-seg", "yolov10b", "yolov5", "yolov8-p6", "yolov9e"]
every_stock_model = pytest.mark.parametrize("name", sampled(STOCK, lambda name: name.removesuffix(".yaml") in FEW))


def first_scale(name):
    model = load_model_dict(name)
    return {**model, "scale": next(iter(model.get("scales") or [""]))}


@every_stock_model
def test_every_stock_model_takes_blocks_at_every_role(name):
    """All roles at once: each stock row reads what it read, and there is a block behind every role."""
    stock = first_scale(name)
    graph = Graph(stock)
    places = [f"{place}:all" for place, levels in graph.roles.items() if levels]
    places += ["pre-detect", *(["sppf"] if graph.pooling else [])]
    made = ya.insert(stock, "ECA", at=";".join(places))
    layers, saved = build(made.yaml, stock["scale"])
    base_layers, base_saved = stock_build(name, stock["scale"])
    assert provenance(layers, saved) == provenance(base_layers, base_saved), name
    assert [m.np for m in layers if not is_attention(m)] == [m.np for m in base_layers], name
    gated = {i for levels in graph.roles.values() for i in levels.values()} | set(graph.pooling)
    assert len(made.new_rows) == len(gated) + len(graph.sources(graph.last)), name


@every_stock_model
def test_every_stock_model_takes_blocks_inside_its_hosts(name):
    stock = first_scale(name)
    hosts = {r[2] for r in rows_of(stock)} & {"C2f", "C3", "C3k2", "A2C2f", "C2PSA", "RepC3", "RepNCSPELAN4", "SPPF"}
    hosts |= {r[2] for r in rows_of(stock)} & {"Conv", "C3Ghost", "ResNetLayer"}
    made = ya.insert(stock, "ECA", inside=",".join(sorted(hosts)))
    layers, saved = build(made.yaml, stock["scale"])
    base_layers, base_saved = stock_build(name, stock["scale"])
    assert (made.new_rows, saved) == ((), base_saved), name
    held = [i for i, layer in enumerate(layers) if blocks_inside(layer)]
    assert held == [i for i, r in enumerate(rows_of(stock)) if r[2] in hosts], name
    ours = {k: v.shape for k, v in layers.state_dict().items() if "attention" not in k.split(".")}
    assert ours == {k: v.shape for k, v in base_layers.state_dict().items()}, name


@every_stock_model
def test_roles_are_where_ultralytics_says_they_are(name):
    """Against the comments in the stock YAMLs, which people have written by hand."""
    text = next(Path(ultralytics.__file__).parent.rglob(name)).read_text()
    commented = re.findall(r"(\w+), \[.*# (\d+) \((P\d)/\d+-", text)
    outputs = {level: int(row) for module, row, level in commented if module != "ImagePoolingAttn"}
    neck = Graph(first_scale(name)).roles["neck"]
    assert outputs.items() <= neck.items(), name
    detect = re.search(r"# \w+\((P\d(?:, P\d)+)\)", text)
    if detect:
        assert set(neck) == set(detect[1].split(", ")), name
    if "resnet" in name:  # its comments count the stem's pooling as no stride
        return
    stages = {level: int(row) for row, level in re.findall(r"# (\d+)-(P\d)/\d+", text)}
    graph = Graph(first_scale(name))
    for level, row in stages.items():
        assert graph.level(row) == level, f"{name}: row {row}"


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
    roles = Graph(load_model_dict(name)).roles
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


def test_before_a_row_gates_what_that_row_alone_reads():
    made = ya.insert("yolov8n.yaml", "SE", at="before:11")  # a Concat that reads 10 and 6
    rows = rows_of(made.yaml)
    assert made.new_rows == (11, 12)
    assert rows[11:14] == [[-1, 1, "SE", []], [6, 1, "SE", []], [[11, 12], 1, "Concat", [1]]]
    assert rows[7] == rows_of(made.base)[7]
    single = rows_of(ya.insert("yolov8n.yaml", "SE", at="before:7").yaml)
    assert single[7:9] == [[-1, 1, "SE", []], [-1, 1, "Conv", [1024, 3, 2]]]
    assert single[12] == [[-1, 6], 1, "Concat", [1]]  # still reads row 6 itself


def test_before_the_first_row_gates_the_image():
    made = ya.insert("yolov8n.yaml", "sSE", at="before:0")
    assert rows_of(made.yaml)[:2] == [[-1, 1, "sSE", []], [-1, 1, "Conv", [64, 3, 2]]]
    layers, _ = build(made.yaml, "n")
    assert layers[0].channels == 3


def test_pre_detect_leaves_the_neck_alone():
    made = ya.insert("yolov8n.yaml", "SE", at="pre-detect")
    rows = rows_of(made.yaml)
    assert rows[:22] == rows_of(made.base)[:22]
    assert [r[0] for r in rows[22:]] == [15, 18, 21, [22, 23, 24]]


def test_a_relative_from_stays_where_it_still_holds():
    rows = rows_of(ya.insert("rtdetr-l.yaml", "SE", at="pre-detect").yaml)
    assert rows[15][0] == [-2, -1]
    tiny = rows_of(ya.insert("yolov3-tiny.yaml", "SE", at="after:15").yaml)
    assert tiny[17][0] == 14  # row 16 read -2, row 14; a block now stands between


def test_several_blocks_and_places_at_once():
    made = ya.insert(
        "yolo11n.yaml", [("SE", "neck:P3;sppf"), ("ELA", ["neck:P3", "backbone:P3"], {"variant": "L"})], init="identity"
    )
    rows = rows_of(made.yaml)
    assert [(i, rows[i][2]) for i in made.new_rows] == [(5, "ELA"), (11, "SE"), (19, "SE"), (20, "ELA")]
    assert rows[20] == [-1, 1, "ELA", [{"init": "identity", "variant": "L"}]]
    assert rows[19][3] == [{"init": "identity"}]
    assert provenance(*build(made.yaml, "n")) == provenance(*build(made.base, "n"))


def test_the_same_block_twice_at_one_place_is_refused():
    with pytest.raises(ya.YoloAttnError, match="SE is to go to the same place, after row 16, twice"):
        ya.insert("yolo11n.yaml", [("SE", "neck:P3"), ("SE", "after:16")])
    assert len(ya.insert("yolo11n.yaml", "SE", at="neck:P3;after:16").new_rows) == 1  # one site, named twice


def test_a_place_that_has_a_block_gets_another_behind_it_and_says_so():
    once = ya.insert("yolo11n.yaml", "SE", at="neck:P3")
    twice = ya.insert(once.yaml, "ELA", at="neck:P3")
    assert [rows_of(twice.yaml)[i][2] for i in (16, 17, 18)] == ["C3k2", "SE", "ELA"]
    assert "behind row 17, SE, which the base has already" in str(twice)
    assert "behind" not in str(once)


@pytest.mark.parametrize("name", [f"{family}n.yaml" for family in FAMILIES])
def test_inside_sppf_concat_gates_the_concatenation(name):
    made = ya.insert(name, "LSKA", inside="SPPF@concat", kernel_size=7)
    assert made.inside == (9,)
    assert rows_of(made.yaml)[9][2:] == ["SPPF_LSKA@concat", [*rows_of(made.base)[9][3], {"kernel_size": 7}]]
    sppf = tasks.parse_model(made.yaml, ch=3, verbose=False)[0][9]
    assert {path: block.channels for path, block in blocks_inside(sppf).items()} == {"cv2.attention": 512}


def test_inside_writes_rows_of_the_host_block():
    made = ya.insert("yolo11n.yaml", "ELA", inside="C3k2,C2PSA@outer", at="backbone", variant="L")
    rows, stock = rows_of(made.yaml), rows_of(made.base)
    assert made.inside == (2, 4, 6, 8, 10)
    assert rows[4] == [-1, 2, "C3k2_ELA@outer", [512, False, 0.25, {"variant": "L"}]]
    assert rows[10] == [-1, 2, "C2PSA_ELA@outer", [1024, {"variant": "L"}]]
    assert [r for i, r in enumerate(rows) if i not in made.inside] == [
        r for i, r in enumerate(stock) if i not in made.inside
    ]
    assert "*   4  [-1, 2, C3k2_ELA@outer" in str(made)
    assert ya.insert("yolo11n.yaml", "ELA", inside="C3k2", at="neck:P3,P5;neck").inside == (13, 16, 19, 22)
    with pytest.raises(ya.YoloAttnError, match=r"row 4 has a block inside already \(C3k2_ELA@outer\)"):
        ya.insert(made.yaml, "SE", inside="C3k2", at="after:4")


def test_a_checkpoint_as_base(tmp_path):
    source = tasks.DetectionModel({**load_model_dict("yolo11s.yaml"), "nc": 7}, verbose=False)
    torch.save({"model": source, "train_args": {}}, tmp_path / "best.pt")
    made = ya.insert(tmp_path / "best.pt", "SE", at="neck:P4")
    assert (made.yaml["nc"], made.yaml["scale"]) == (7, "s")
    read = load_model_dict(made.save(tmp_path / "mine.yaml"))
    assert read["nc"] == 7
    assert next(iter(read["scales"])) == "s"  # which Ultralytics takes where a name states no scale
    with pytest.raises(ya.YoloAttnError, match=r"no weights at .*none\.pt"):
        ya.insert("none.pt", "SE")


def test_a_model_dict_is_not_changed():
    base = load_model_dict("yolo11n.yaml")
    before = deepcopy(base)
    ya.insert(base, "ELA")
    assert base == before


def test_the_role_check_finds_an_index_that_was_not_shifted():
    made = ya.insert("yolo11n.yaml", "SE", at="neck:P3")
    made.yaml["head"][-1][0][1] -= 1
    with pytest.raises(ya.YoloAttnError, match=r"row 24 \(Detect\) would read base rows \[16, 18, 22\]"):
        check_roles(made)
    made = ya.insert("yolo11n.yaml", "SE", inside="C3k2")
    made.yaml["backbone"][4][3][0] = 256
    with pytest.raises(ya.YoloAttnError, match=r"row 4 is .* in the base model it is"):
        check_roles(made)


def test_what_a_machine_reads_of_an_insertion():
    made = ya.insert("yolo11n.yaml", [("SE", "neck:P5")], reduction=8)
    told = json.loads(json.dumps(made.as_dict()))
    assert told["new_rows"] == [{"row": 23, "is": [-1, 1, "SE", [{"reduction": 8}]]}]
    assert told["inside"] == []
    assert told["row_map"]["22"] == 22
    assert told["row_map"]["23"] == 24
    told = ya.insert("yolo11n.yaml", "SE", inside="C2PSA").as_dict()
    assert told["inside"] == [{"row": 10, "is": [-1, 2, "C2PSA_SE", [1024]], "was": [-1, 2, "C2PSA", [1024]]}]


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = ya.insert("yolo11n.yaml", "SE").save(tmp_path / "yolo11n-mine.yaml")
    before = path.read_text()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("yolo_attn.util.files.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        ya.insert("yolo11n.yaml", "ELA").save(path)
    assert path.read_text() == before


def test_saving_and_reading_gives_the_same_rows(tmp_path):
    made = ya.insert("yolo26s.yaml", "scSE", at="backbone:P5", combine="max")
    path = made.save(tmp_path / "new folder" / "yolo26-mine.yaml")
    read = yaml.safe_load(path.read_text())
    assert rows_of(read) == rows_of(made.yaml)
    assert {k: read[k] for k in ("nc", "end2end", "reg_max", "scales")} == {
        k: made.yaml[k] for k in ("nc", "end2end", "reg_max", "scales")
    }
