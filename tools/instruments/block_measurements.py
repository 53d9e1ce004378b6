"""Measure what ``yolo-attn blocks --markdown`` shows beside the facts of the classes, and store it with the machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from instruments.block_speed import least
from instruments.export_cells import FORMATS
from instruments.export_table import beyond_tolerance
from instruments.paths import RESULTS
from yolo_attn.bench.cases import shape_name
from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.models.block_table import MEASURED
from yolo_attn.util import jsonl
from yolo_attn.util.env import environment
from yolo_attn.util.files import write_json

SHAPE = (8, 128, 40, 40)
"""Map on which the blocks are timed: P4 of yolo11n at 640 px."""
GAIN_SHAPE, GAIN_SEEDS = (4, 128, 20, 20), range(5)
COUNTED = "2026-11"
WITH = {"LSK": "LSKA", "LSKA": "LSK", "ESE": "SELayerV2"}
"""Blocks that were counted together with another."""
PUBLIC_YAMLS = {
    "EMA": (20, 47),
    "GAM": (17, 26),
    "BRA": (12, 20),
    "SimAM": (10, 36),
    "Triplet": (10, 18),
    "LSK": (8, 14),
    "LSKA": (8, 14),
    "SK": (4, 17),
    "SA": (11, 9),
    "ESE": (8, 8),
    "MLCA": (7, 5),
    "SEAM": (6, 6),
    "CPCA": (5, 6),
    "SCSA": (4, 9),
}
"""Repositories and distinct model YAMLs that ask for a block, in 139 public forks of YOLO and 2,964 distinct YAMLs."""


def gain(block: Callable[[int], nn.Module]) -> float:
    """Return how much of its features a new block lets through: ``<y, x> / <x, x>``, mean over five initialisations.

    ``x`` is SiLU of normal noise, as the features behind a convolution of YOLO, the same for all; the block is in
    evaluation mode. 1 means that the features pass as they are, 0 that nothing like them is left.

    Args:
        block: Builds the block for a number of channels.
    """
    x = F.silu(torch.randn(GAIN_SHAPE, generator=torch.Generator().manual_seed(0)))
    gains = []
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        for seed in GAIN_SEEDS:
            torch.manual_seed(seed)
            y = block(GAIN_SHAPE[1]).eval()(x)
            gains.append(float((y * x).sum() / (x * x).sum()))
    return fmean(gains)


def cost(rounds: int, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return each block's time of a forward and of a training step over SE's, all timed in turns in this process.

    Forward is in evaluation mode without gradients; training is forward and backward to the input and all parameters.

    Args:
        rounds: How often each is timed; the least counts.
        only: Blocks to time beside SE; all by default.
    """
    names = ["SE", *(name for name in only if name != "SE")] if only else list(ATTENTION_BLOCKS)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, upstream = torch.randn(SHAPE).requires_grad_(), torch.randn(SHAPE)
    forward, training = {}, {}
    for name in names:
        block, trained = (ATTENTION_BLOCKS[name](SHAPE[1]).train(mode) for mode in (False, True))
        wanted = [x, *trained.parameters()]
        forward[name] = torch.inference_mode()(lambda block=block: block(x))
        training[name] = lambda trained=trained, wanted=wanted: torch.autograd.grad(trained(x), wanted, upstream)
    times = {"forward": least(forward, rounds, 0.0), "training": least(training, rounds, 0.0)}
    env = environment()
    where = f"{env['cpu']}, 1 thread, torch {env['torch']}, {shape_name(SHAPE)}, float32, contiguous"
    beside = {name: {word: round(t[name] / t["SE"], 3) for word, t in times.items()} for name in names}
    return {
        "where": where,
        "microseconds_of_SE": {word: round(t["SE"]) for word, t in times.items()},
        "beside_SE": beside,
    }


def exports() -> dict[str, dict[str, list[str]]]:
    """Return what of each format is beyond its tolerance, for the blocks that were measured in every format."""
    lines = list(jsonl.read(RESULTS / "export" / "cells.jsonl"))
    return {
        name: {format: beyond_tolerance(lines, name, format) for format in FORMATS}
        for name in ATTENTION_BLOCKS
        if all(any(x["block"] == name and x.get("format") == format for x in lines) for format in FORMATS)
    }


def public_yamls() -> dict[str, dict[str, Any]]:
    """Return how often public model YAMLs ask for each block that was counted."""
    return {
        name: {"repositories": repositories, "yamls": yamls, "note": f" (with {WITH[name]})" if name in WITH else ""}
        for name, (repositories, yamls) in PUBLIC_YAMLS.items()
    }


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/measure_table.py``: measure what is asked for, keep the rest, and print the path."""
    parser = argparse.ArgumentParser(prog="python tools/measure_table.py", description=__doc__)
    for flag in ("--cost", "--gain", "--exports"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--blocks", type=lambda text: text.split(","), default=(), help="time these beside SE, not all")
    given = parser.parse_args(words)
    everything = not (given.cost or given.gain or given.exports)
    stored = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.is_file() else {}
    if everything or given.cost:
        found = cost(given.rounds, given.blocks)
        if given.blocks and found["where"] != stored["cost"]["where"]:
            parser.error(f"the others were timed on {stored['cost']['where']}, this is {found['where']}: time all")
        kept = stored["cost"] if given.blocks else {"beside_SE": {}}
        stored["cost"] = {**found, **kept, "beside_SE": {**kept["beside_SE"], **found["beside_SE"]}}
    if everything or given.gain:
        stored["gain"] = {name: round(gain(cls), 4) for name, cls in ATTENTION_BLOCKS.items()}
    if everything or given.exports:
        stored["beyond_tolerance"] = exports()
    print(write_json(MEASURED, {**stored, "counted": COUNTED, "public_yamls": public_yamls()}))
