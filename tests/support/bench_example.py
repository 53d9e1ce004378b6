"""Raw lines of a made-up bench: hand-made times with known answers."""

from __future__ import annotations

HEADER = {
    "kind": "header",
    "request": {"device": "cpu"},
    "environment": {
        "device": "cpu", "cpu": "A CPU", "cores": 2, "threads": 2, "python": "3.12", "commit": "",
        "torch": "2.11", "ultralytics": "8.4", "yolo_attn": "0.1",
    },
    "timm": {"version": "1.0", "blocks": {"SE": "same", "ELA": "alike: something else"}},
    "command": "yolo-attn bench",
}  # fmt: skip
GPU = {**HEADER, "request": {"device": "cuda:0"}}
GPU["environment"] = {**HEADER["environment"], "device": "cuda:0", "gpu": "A GPU", "cuda": "13.0"}


def group(number, times, block="SE", shape="8x64x80x80", pass_="forward", floor_ms=None, memory=None):
    """Raw lines of one group, from the milliseconds of each implementation."""
    case = {"block": block, "shape": shape, "dtype": "fp32", "layout": "contiguous", "pass": pass_, "compiled": False}
    first = {"kind": "group", "group": number, "of": "block", **case}
    rounds = [dict(zip(times, row, strict=True)) for row in zip(*times.values(), strict=True)]
    return [
        {**first, "memory": memory or {}, "compile_s": {}, "floor_ms": floor_ms},
        *({"kind": "round", "group": number, "milliseconds": one} for one in rounds),
    ]


def model_group(number, times):
    case = {"of": "model", "model": "yolo11n.yaml", "dtype": "fp32", "pass": "training", "batch": 4, "imgsz": 320}
    rounds = [dict(zip(reversed(times), row, strict=True)) for row in zip(*reversed(times.values()), strict=True)]
    return [
        {"kind": "group", "group": number, **case, "arms": list(times)},
        *({"kind": "round", "group": number, "milliseconds": one} for one in rounds),
    ]


def left_out(why, arm=None, **changes):
    case = {"of": "block", "block": "NL", "shape": "8x64x80x80", "dtype": "fp32", "layout": "contiguous"}
    return {"kind": "left out", **case, "pass": "forward", "compiled": False, "arm": arm, "why": why, **changes}


STEADY = {"floor": [1.0] * 9, "ours": [2.0] * 9, "tutorial": [6.0] * 9, "timm": [4.0] * 9}
EXAMPLE = [
    HEADER,
    *group(0, STEADY),
    *group(1, {**STEADY, "tutorial": [1.0] * 9}, block="ELA"),
    *group(2, {**STEADY, "ours": [8.0] * 9}, shape="8x256x20x20"),
    *group(
        3,
        {"floor": [2.0] * 9, "ours": [4.0] * 9, "tutorial": [8.0] * 9},
        block="SNL",
        pass_="training",
        memory={
            "ours": {"x": True, "maps": 0.03, "peak_maps": None},
            "tutorial": {"x": False, "maps": 2.5, "peak_maps": None},
        },
    ),
    *model_group(4, {"base": [10.0] * 9, "identity control": [10.0] * 9, "SE": [11.0] * 9}),
    left_out("holds 2.4 GiB", arm="tutorial"),
    *(left_out("no time", block=f"B{k}") for k in range(9)),
]
