"""Model dicts and names of model YAMLs, right and wrong, none of which has attention."""

ROWS = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "C2f", [32, True]]]
HEAD = [[[0, 1, 2], 1, "Detect", ["nc"]]]
STOCK = {"nc": 3, "backbone": ROWS, "head": HEAD}


def with_row(*row, **settings):
    return {"nc": 3, "backbone": [*ROWS, list(row)], "head": HEAD, **settings}


def with_settings(**settings):
    return {**STOCK, **settings}


def without(key):
    return {k: v for k, v in STOCK.items() if k != key}


MODELS = {
    "plain": STOCK,
    "a class of one's own": with_row(-1, 1, "Mine", [5]),
    "a function": with_row(-1, 1, "made", [5]),
    "a partial": with_row(-1, 1, "part", []),
    "a host class under a block's name": with_row(-1, 1, "BoughtCBAM", [32]),
    "a class of torch": with_row(-1, 1, "nn.Identity", []),
    "a class of torchvision": with_row(-1, 1, "torchvision.ops.Permute", [[0, 1, 2, 3]]),
    "activation": with_settings(activation="nn.ReLU()"),
    "activation by its full path": with_settings(activation="torch.nn.modules.activation.ReLU()"),
    "activation of the host": with_settings(activation="Conv.default_act"),
    "activation of one's own": with_settings(activation="MyAct()"),
    "activation that is none": with_settings(activation="nosuch()"),
    "activation that is no text": with_settings(activation=5),
    "activation of a wrong syntax": with_settings(activation="nn.ReLU("),
    "activation and a wrong row": {**with_row(-1, 1, "Nosuch", []), "activation": "nn.ReLU()"},
    "an unknown row": with_row(-1, 1, "Nosuch", [5]),
    "an unknown row like a host's": with_row(-1, 1, "Convv", [5]),
    "an unknown row with a line": with_row(-1, 1, "C2f_Nosuch", [5]),
    "an unknown row with an at": with_row(-1, 1, "C2f@inner", [5]),
    "an empty name": with_row(-1, 1, "", []),
    "a name that is no text": with_row(-1, 1, 5, []),
    "a name that is None": with_row(-1, 1, None, []),
    "an unknown class of torch": with_row(-1, 1, "nn.Nosuch", []),
    "an unknown class of torchvision": with_row(-1, 1, "torchvision.ops.Nosuch", []),
    "a function of the host": with_row(-1, 1, "colorstr", ["red"]),
    "a module of the host": with_row(-1, 1, "contextlib", []),
    "a source that does not exist": with_row(9, 1, "Conv", [5]),
    "a source counted back too far": with_row(-9, 1, "Conv", [5]),
    "a source that is text": with_row("x", 1, "Conv", [5]),
    "two sources": with_row([0, 1], 1, "Conv", [5]),
    "no sources": with_row([], 1, "Concat", [1]),
    "repeats that are text": with_row(-1, "2", "Conv", [5]),
    "repeats 0": with_row(-1, 0, "Conv", [5]),
    "repeats below 0": with_row(-1, -2, "Conv", [5]),
    "repeats 1.5": with_row(-1, 1.5, "Conv", [5]),
    "arguments that are no list": with_row(-1, 1, "Conv", 5),
    "arguments that are None": with_row(-1, 1, "Conv", None),
    "no arguments": with_row(-1, 1, "Conv", []),
    "too many arguments": with_row(-1, 1, "Conv", [5, 1, 1, 0, 1, 1, True, 8, 9]),
    "arguments of a wrong type": with_row(-1, 1, "Conv", ["wide"]),
    "a local name of the parser": with_row(-1, 1, "Conv", ["nc"]),
    "a row of three": with_row(-1, 1, "Conv"),
    "a row of five": with_row(-1, 1, "Conv", [5], 6),
    "an empty row": with_row(),
    "a row that is text": {**STOCK, "backbone": [*ROWS, "Conv"]},
    "a row that is a mapping": {**STOCK, "backbone": [*ROWS, {"from": -1}]},
    "a row that is None": {**STOCK, "backbone": [*ROWS, None]},
    "a scale that is missing": with_settings(scales={"s": [1, 1, 64]}, scale="n"),
    "no scale stated": with_settings(scales={"s": [1, 1, 64]}),
    "scales that are a list": with_settings(scales=[1, 1, 64]),
    "scales of two": with_settings(scales={"n": [1, 1]}, scale="n"),
    "no classes": without("nc"),
    "no backbone": without("backbone"),
    "no head": without("head"),
    "an empty head": {**STOCK, "head": []},
    "an empty backbone": {**STOCK, "backbone": []},
    "a head that is None": {**STOCK, "head": None},
    "a head that is text": {**STOCK, "head": "Detect"},
    "a head that is a mapping": {**STOCK, "head": {"a": 1}},
    "an unknown head": {**STOCK, "head": [[[0, 1, 2], 1, "Foo", ["nc"]]]},
    "an unknown head like one": {**STOCK, "head": [[[0, 1, 2], 1, "Detect_X", ["nc"]]]},
    "a head without sources": {**STOCK, "head": [[[], 1, "Detect", ["nc"]]]},
    "a tuple for a list": {**STOCK, "backbone": tuple(ROWS)},
    "nothing": {},
    "other things": {"path": "..", "train": "images", "names": ["a"]},
    "nested": {"model": STOCK},
}

NAMES = [
    "raw.yaml",
    "yolo11-mine.yaml",
    "yolo11n-mine.yaml",
    "yolo11s-mine.yaml",
    "yolo11x-mine.yaml",
    "2nd-try/yolo11n-mine.yaml",
    "mine.yml",
    "mine.yaml",
    "nofile.yaml",
    "a/b.yaml",
    "yolo11n",
    "yolo11n.YAML",
    "yolov9s.yaml",
    "yolov9t.yaml",
    "yolov8n6.yaml",
    "yolov5n6.yaml",
    "yolo11n-seg.yaml",
    "yolo99n.yaml",
    "yolo11n-seeg.yaml",
    "yolo11q.yaml",
    "./yolo11n.yaml",
    "coco8.yaml",
    "2nd-try",
    ".",
    "..",
    "/",
    "content0.txt",
    "yolo11n-world.yaml",
    "yolo11n-mini.yaml",
]
