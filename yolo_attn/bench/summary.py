"""Summarize the raw lines of a bench: medians, ratios with intervals, geometric means over blocks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import geometric_mean
from typing import Any

import numpy as np

from yolo_attn.bench.cases import MEMORY_BOUND_BYTES
from yolo_attn.speed.summary import Ratio, milliseconds, ratio, stability
from yolo_attn.util.jsonl import Record

Summary = dict[str, Any]

PAIRS = (
    ("ours", "floor"),
    ("ours", "best"),
    ("ours", "tutorial"),
    ("ours", "timm"),
    ("tutorial", "ours"),
    ("tutorial", "floor"),
    ("timm", "floor"),
    ("ours compiled", "floor"),
    ("ours compiled", "ours"),
    ("ours compiled", "tutorial compiled"),
    ("tutorial compiled", "floor"),
    ("tutorial compiled", "ours compiled"),
    ("ours graph", "floor"),
    ("tutorial graph", "floor"),
    ("tutorial graph", "ours graph"),
    ("ours fused", "floor"),
    ("ours", "ours fused"),
    ("best", "ours fused"),
    ("tutorial", "ours fused"),
    ("ours compiled", "ours fused"),
    ("ours fused compiled", "floor"),
    ("ours compiled", "ours fused compiled"),
    ("ours fused graph", "floor"),
    ("ours graph", "ours fused graph"),
    ("tutorial graph", "ours fused graph"),
)
"""Ratios to compute where both were timed; ``best`` is the faster of the tutorial and of timm if timm is the same."""

_SETTING = ("dtype", "layout", "pass", "shape")


def summarize(records: Sequence[Record]) -> Summary:
    """Summarize the records of a complete bench.

    Args:
        records: Raw lines, see ``raw.read_raw``.

    Returns:
        ``request``, ``environment``, ``timm``, ``command``, ``copy_rate`` (``None`` if not measured); ``blocks``,
        one mapping per group with its case, ``rounds``, the stability of ours, per implementation of ``times`` its
        milliseconds, per pair of ``ratios`` (e.g. ``"ours/tutorial"``) a ratio with interval, the ``verdict`` over the
        ``best``, ``memory`` and ``compile_s``; ``means``, geometric means of the ratios; ``models``, one mapping per
        group of whole models; ``left_out``, cases with the reason.
    """
    header = records[0]
    rounds: dict[int, list[Mapping[str, float]]] = defaultdict(list)
    for record in records:
        if record["kind"] == "round":
            rounds[record["group"]].append(record["milliseconds"])
    groups = [record for record in records if record["kind"] == "group" and rounds[record["group"]]]
    same = {block for block, note in header["timm"]["blocks"].items() if note.startswith("same")}
    blocks = [_block(g, rounds[g["group"]], g["block"] in same) for g in groups if g["of"] == "block"]
    return {
        **{name: header[name] for name in ("request", "environment", "timm", "command")},
        "copy_rate": next((_without_kind(r) for r in records if r["kind"] == "copy rate"), None),
        "blocks": blocks,
        "means": means(blocks),
        "models": [_model(g, rounds[g["group"]]) for g in groups if g["of"] == "model"],
        "left_out": [_without_kind(r) for r in records if r["kind"] == "left out"],
    }


def means(blocks: Sequence[Summary]) -> list[Summary]:
    """Return the geometric means of all ratios over the blocks, per shape and over all shapes of a setting."""
    found = []
    for keys in (_SETTING[:3], (*_SETTING[:3], "regime"), _SETTING):
        if "regime" in keys and len({block["regime"] for block in blocks}) < 2:
            continue
        for setting in dict.fromkeys(tuple(block[key] for key in keys) for block in blocks):
            members = [block for block in blocks if tuple(block[key] for key in keys) == setting]
            pairs = dict.fromkeys(pair for block in members for pair in block["ratios"])
            ratios = {p: [b["ratios"][p]["ratio"] for b in members if p in b["ratios"]] for p in pairs}
            over = {pair: {"ratio": geometric_mean(values), "groups": len(values)} for pair, values in ratios.items()}
            described = dict(zip(keys, setting, strict=True))
            found.append({"shape": described.pop("regime", "all"), **described, "ratios": over})
    return found


def _block(group: Record, rounds: Sequence[Mapping[str, float]], timm_is_same: bool) -> Summary:
    times = _series(rounds)
    if group["floor_ms"]:
        times["floor"] = np.full(len(rounds), group["floor_ms"])
    best = _best(times, timm_is_same)
    known = {**times, "best": times[best]} if best else times
    ratios = {f"{a}/{b}": ratio(known[a], known[b]) for a, b in PAIRS if a in known and b in known}
    return {
        **{name: group[name] for name in ("block", "shape", "dtype", "layout", "pass", "memory", "compile_s")},
        "regime": _regime(group),
        "launches": group.get("launches", {}),
        "host_us": group.get("host_us", {}),
        "rounds": len(rounds),
        **stability(times["ours"]),
        "timm_is_same": timm_is_same,
        "best": best,
        "verdict": _verdict(ratios.get("ours/best")),
        "times": {name: milliseconds(series) for name, series in times.items()},
        "ratios": ratios,
    }


def _regime(group: Record) -> str:
    """Return by what a block on a GPU is bound on a map: moving it, or the launches of its kernels."""
    values = math.prod(map(int, group["shape"].split("x"))) * (4 if group["dtype"] == "fp32" else 2)
    return "memory-bound" if values >= MEMORY_BOUND_BYTES else "launch-bound"


def _model(group: Record, rounds: Sequence[Mapping[str, float]]) -> Summary:
    times = {name: _series(rounds)[name] for name in group["arms"]}
    return {
        **{name: group[name] for name in ("model", "dtype", "pass", "batch", "imgsz")},
        "graph": group.get("graph", False),
        "rounds": len(rounds),
        **stability(times["base"]),
        "arms": {name: {**milliseconds(series), **ratio(series, times["base"])} for name, series in times.items()},
    }


def _series(rounds: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    names = sorted(rounds[0])  # a round is in the order of its timing
    return {name: np.array([times[name] for times in rounds]) for name in names}


def _best(times: Mapping[str, np.ndarray], timm_is_same: bool) -> str | None:
    candidates: Iterable[str] = ("tutorial", "timm") if timm_is_same else ("tutorial",)
    return min((name for name in candidates if name in times), key=lambda name: np.median(times[name]), default=None)


def _verdict(found: Ratio | None) -> str | None:
    if found is None:
        return None
    return "faster" if found["ratio_high"] < 1 else "slower" if found["ratio_low"] > 1 else "even"


def _without_kind(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != "kind"}
