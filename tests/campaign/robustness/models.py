"""Random models: valid rows of Ultralytics, with valid and invalid attention rows among them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from robustness.values import BLOCKS, block_names, junk, misspelled, mostly, row_arguments, words
from yolo_attn.host.model import load_model_dict

Row = list[Any]

HOSTS = {  # host blocks that keep a map's size, and their arguments after the width
    "Conv": [3, 1], "C2f": [True], "C3k2": [False], "C3": [True], "SPPF": [5], "Bottleneck": [], "C2PSA": [],
    "C3Ghost": [True], "GhostConv": [3], "GhostBottleneck": [], "A2C2f": [False], "C2fCIB": [True], "RepC3": [],
    "DWConv": [3], "C1": [], "C2": [], "PSA": [], "BottleneckCSP": [], "SPP": [],
}  # fmt: skip
OTHERS = ["Detect", "Concat", "nn.ReLU", "nn.Upsample", "TorchVision", "torch", "LOGGER", "parse_model", "nn", "Index"]
STOCK = [
    "yolov3-tiny.yaml", "yolov5n.yaml", "yolov6n.yaml", "yolov8n.yaml", "yolov8n-ghost.yaml", "yolov8n-p2.yaml",
    "yolov8n-p6.yaml", "yolov8n-seg.yaml", "yolov8n-obb.yaml", "yolov9t.yaml", "yolov10n.yaml", "yolo11n.yaml",
    "yolo11n-cls.yaml", "yolo11n-pose.yaml", "yolo12n.yaml", "yolo26n.yaml",
]  # fmt: skip
FILES = ["yolo11n-fuzz.yaml", "yolo11-fuzz.yaml", "yolov8x-fuzz.yaml", "my model.yaml"]
NEEDS_SMALL_MAPS = ("NL", "NonLocal", "NonLocalBlock", "NLBlock", "PSA", "C2PSA")  # compare all positions of a map

sources = mostly(st.just(-1), st.one_of(st.integers(-12, 12), st.lists(st.integers(-3, 9), max_size=3), junk), of=30)
repeats = mostly(st.sampled_from([1, 1, 2, 3]), st.one_of(st.sampled_from([0, -1, 1.5, 2.5, True]), words, junk), of=30)
places = mostly(
    st.sampled_from(["", "@inner", "@outer"]), st.sampled_from(["@", "@Inner", "@inner@outer", "_SE"]), of=20
)


@st.composite
def attention_rows(draw: st.DrawFn, width: int, small_map: bool = True) -> Row:
    """Draw a row with attention: a block, or a block inside a host, each part of it invalid now and then."""
    name = draw(block_names)
    if not small_map and name in NEEDS_SMALL_MAPS:
        name = "SE"
    arguments = draw(row_arguments(name))
    if draw(st.booleans()):
        return [draw(sources), draw(repeats), name, arguments]
    host = draw(
        mostly(st.sampled_from(_hosts(small_map)), st.one_of(st.sampled_from(OTHERS), misspelled(list(HOSTS))), of=25)
    )
    more = arguments if isinstance(arguments, list) else [arguments]
    own = draw(mostly(st.just([width, *HOSTS.get(host, [])]), st.lists(junk, max_size=3), of=30))
    return [draw(sources), draw(repeats), f"{host}_{name}{draw(places)}", [*own, *more]]


def _hosts(small_map: bool) -> list[str]:
    return [host for host in HOSTS if small_map or host not in NEEDS_SMALL_MAPS]


@st.composite
def small_models(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a detector of five strides that would build, with attention rows anywhere in it."""
    rows: list[Row] = []
    ends: list[int] = []
    for stage in range(5):
        width = draw(st.sampled_from([16, 8, 24, 32, 64]))
        rows.append([-1, 1, "Conv", [width, 3, 2]])
        for host in draw(st.lists(st.sampled_from(_hosts(stage > 1)), max_size=1)):
            rows.append([-1, 1, host, [width, *HOSTS[host]]])
        rows += draw(st.lists(attention_rows(width, small_map=stage > 1), max_size=1, min_size=int(stage == 4)))
        ends.append(len(rows) - 1)
    head: list[Row] = []
    if draw(st.booleans()):
        head = [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, ends[3]], 1, "Concat", [1]]]
        head += [[-1, 1, "C2f", [32]], *draw(st.lists(attention_rows(32), max_size=1))]
    head.append([[ends[2], ends[3], len(rows) + len(head) - 1], 1, "Detect", ["nc"]])
    head += draw(mostly(st.just([]), st.lists(attention_rows(16), max_size=1), of=20))
    return {**draw(settings()), "backbone": rows, "head": head}


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the other keys of a model YAML: classes, scales, an activation."""
    found: dict[str, Any] = {"nc": draw(mostly(st.sampled_from([3, 80]), junk, of=30))}
    if draw(st.booleans()):
        scale = mostly(st.sampled_from([[0.5, 0.25, 1024], [1.0, 1.0, 64], [0.33, 1.25, 512]]), junk, of=20)
        found["scales"] = draw(
            mostly(st.fixed_dictionaries({"n": scale}, optional={"x": scale}), st.dictionaries(words, scale), of=30)
        )
    if draw(st.integers(0, 9)) == 9:
        found["activation"] = draw(mostly(st.sampled_from(["nn.ReLU()", "torch.nn.LeakyReLU(0.1)"]), junk, of=3))
    return found


@st.composite
def spoiled_stock_models(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a stock model with an attention row inserted without renumbering, or inside one of its rows."""
    stock = load_model_dict(draw(st.sampled_from(STOCK)))
    model = {key: value for key, value in stock.items() if key not in ("scale", "yaml_file")}
    section = draw(st.sampled_from(["backbone", "head"]))
    rows = [list(row) for row in model[section]]
    at = draw(st.integers(0, len(rows) - 1))
    if draw(st.booleans()):
        rows[at] = [*rows[at][:2], f"{rows[at][2]}_{draw(st.sampled_from(BLOCKS))}{draw(places)}", rows[at][3]]
    else:
        rows.insert(at, draw(attention_rows(64, small_map=section == "head" or at > 4)))
    return {**model, section: rows}


def models() -> st.SearchStrategy:
    """Draw a model and the file name it is opened by: a small one, or one time in five a stock model's."""
    drawn = mostly(small_models(), spoiled_stock_models(), of=5)
    return st.tuples(st.sampled_from(FILES), drawn)
