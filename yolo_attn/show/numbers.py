"""Statistics of all gates as JSON values, and the table that summarizes them over the images."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from yolo_attn.gates.gate import Gate
from yolo_attn.gates.statistics import DEAD, SATURATED
from yolo_attn.report.formatting import MISSING, number, percent
from yolo_attn.show.look import BlockMaps

HEAD = ("block", "where", "map", "range", "min", "mean", "max", "std", "dead", "saturated", "uniformity", "from init")
HOW_TO_READ = (
    "Smallest, mean and largest value over all images; the rest is the mean over the images. Dead is the share of "
    f"values below {DEAD:g} of the range, saturated above {SATURATED:g} of it. Uniformity is the entropy of weights "
    "over that of uniform ones. From init is the mean absolute difference to what the same block, freshly built, "
    "computes for the same features."
)

Numbers = dict[str, Any]


def block_record(block: BlockMaps) -> Numbers:
    """Return location of a block and statistics of its gates as JSON values."""
    at = block.location
    return {
        "row": at.row,
        "path": at.path,
        "block": at.block,
        "host": at.host,
        "label": at.label,
        "where": block.where,
        "section": at.section,
        "stride": block.stride,
        "channels": block.channels,
        "size": list(block.size),
        "note": block.note,
        "gates": [gate_record(gate) for gate in block.gates],
    }


def gate_record(gate: Gate) -> Numbers:
    """Return kind and statistics of a gate as JSON values."""
    return {
        "kind": gate.kind,
        "name": gate.name,
        "shape": list(gate.values.shape),
        "range": None if gate.top is None else [0.0, gate.top],
        "range_declared": gate.declared,
        **gate.statistics.to_json(),
    }


def overview(model: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells under ``HEAD`` for one model: a row for each gate, over all of its images."""
    rows = []
    for blocks in zip(*(image["blocks"] for image in model["images"]), strict=True):
        first = blocks[0]
        if first["note"]:
            rows.append([first["label"], first["where"], first["note"], *[MISSING] * (len(HEAD) - 3)])
        for gates in zip(*(block["gates"] for block in blocks), strict=True):
            rows.append([first["label"], first["where"], *_cells(gates)])
    return rows


def _cells(gates: Sequence[Numbers]) -> list[str]:
    top = gates[0]["range"]
    moved = _mean([gate["from_init"] and gate["from_init"]["mean"] for gate in gates])
    digits = 3 if top else 5
    shares = (_mean([gate[key] for gate in gates]) for key in ("dead", "saturated"))
    return [
        gates[0]["name"],
        MISSING if top is None else f"0 to {top[1]:g}{'' if gates[0]['range_declared'] else '?'}",
        number(min(gate["min"] for gate in gates), digits),
        number(_mean([gate["mean"] for gate in gates]), digits),
        number(max(gate["max"] for gate in gates), digits),
        number(_mean([gate["std"] for gate in gates]), digits),
        *(MISSING if share is None else f"{percent(share)} %" for share in shares),
        number(_mean([gate["uniformity"] for gate in gates]), 3),
        MISSING if moved is None else f"{moved:.2g}",
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
