"""Time and count what the shipped blocks, tutorial code and timm's blocks do, in one process and in turns.

Times are processor time of this process, least of many rounds: what else runs on a machine then hardly shows. With one
thread on an idle machine it is the time by the clock.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import sys
import time
import tokenize
from collections.abc import Callable
from inspect import getsourcefile
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from instruments.paths import RESULTS
from yolo_attn.bench import timm_blocks, tutorial
from yolo_attn.bench.cases import shape_name
from yolo_attn.bench.memory import kept_for_backward
from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.util.env import environment

LAUNCH = [(2, 64, 8, 8)]
MAPS = [(8, 64, 80, 80), (8, 128, 40, 40), (8, 256, 20, 20)]
WITHOUT_ARITHMETIC = ("view", "expand", "transpose", "t", "unsqueeze", "squeeze", "detach", "_unsafe_view", "alias",
                      "permute", "slice", "split", "split_with_sizes", "select", "as_strided", "unbind")  # fmt: skip


class Counted(TorchDispatchMode):
    """Count the operations that are dispatched, and those of them that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.all = self.computing = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one and call it."""
        self.all += 1
        self.computing += func.overloadpacket.__name__ not in WITHOUT_ARITHMETIC
        return func(*args, **(kwargs or {}))


def least(calls: dict[str, Callable[[], object]], rounds: int, seconds: float) -> dict[str, float]:
    """Return the least microseconds that each call takes, over rounds in which they take turns."""
    often = {}
    for name, call in calls.items():
        call()
        start = time.process_time()
        call()
        often[name] = max(1, int(seconds / max(time.process_time() - start, 1e-7)))
    found = dict.fromkeys(calls, math.inf)
    order = list(calls.items())
    for _ in range(rounds):
        random.shuffle(order)
        for name, call in order:
            start = time.process_time()
            for _ in range(often[name]):
                call()
            found[name] = min(found[name], (time.process_time() - start) / often[name] * 1e6)
    return found


def measure(name: str, shape: tuple[int, ...], rounds: int, seconds: float, timed: bool = True) -> dict[str, Any]:
    """Return times, counts and memory of a block and its opponents, on one shape."""
    torch.manual_seed(0)
    block = ATTENTION_BLOCKS[name](shape[1])
    arms = {"ours": block, "tutorial": tutorial.from_block(block), "timm": timm_blocks.from_block(name, block)}
    x = torch.randn(shape).requires_grad_()
    upstream = torch.randn(shape)
    forward, train, counts, kept = {}, {}, {}, {}
    for arm, module in arms.items():
        if module is None:
            continue
        wanted = [x, *module.parameters()]

        def step(module: nn.Module = module, wanted: list[Any] = wanted) -> object:
            return torch.autograd.grad(module(x), wanted, upstream)

        forward[arm] = torch.no_grad()(lambda module=module: module(x))
        train[arm] = step
        with Counted() as there:
            y = module(x)
        with Counted() as back:
            torch.autograd.grad(y, wanted, upstream)
        counts[arm] = [there.all, back.all, there.computing, back.computing]
        memory = kept_for_backward(module, x)
        kept[arm] = memory.x + memory.maps
    found = {"block": name, "shape": shape, "operations": counts, "kept": kept}
    if timed:
        found["forward"], found["training"] = least(forward, rounds, seconds), least(train, rounds, seconds)
    return found


def code_lines(file: str | None) -> int:
    """Count the lines of a file that hold code: no blanks, comments and docstrings."""
    lines: set[int] = set()
    start = True
    text = Path(file or "").read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.COMMENT):
            start = start or token.type == tokenize.NEWLINE
        elif not (token.type == tokenize.STRING and start):
            lines.update(range(token.start[0], token.end[0] + 1))
            start = False
    return len(lines)


def lines_of(name: str) -> dict[str, int]:
    """Return the lines of code of a block's file, which may hold others, and of timm's."""
    block = ATTENTION_BLOCKS[name](64)
    beside = timm_blocks.from_block(name, block)
    found = {"ours": code_lines(getsourcefile(type(block)))}
    return found if beside is None else {**found, "timm": code_lines(getsourcefile(type(beside)))}


def ratio(found: dict[str, float], to: str = "best") -> float:
    """Return our time over that of the best opponent, or of one."""
    return found["ours"] / (found[to] if to != "best" else min(v for arm, v in found.items() if arm != "ours"))


def to_markdown(raw: dict[str, Any]) -> str:
    """Return the page."""
    parts = ["# How fast the blocks are, beside tutorial code and timm\n", raw["command"], raw["where"]]
    for title, key in (("Tiny maps, where calls are what costs", "launch"), ("Ordinary maps", "maps")):
        if rows := raw.get(key):
            parts += [f"## {title}\n", _times(rows)]
            if key == "maps":
                parts.append(_means(rows))
    parts += ["## Operations, memory, lines\n", _counts(raw["counts"], raw["lines"])]
    return "\n".join(parts)


def _means(rows: list[dict[str, Any]]) -> str:
    def gain(kind: str, left_out: tuple[str, ...] = ()) -> float:
        return geometric_mean([1 / ratio(row[kind], "tutorial") for row in rows if row["block"] not in left_out])

    return (
        f"Tutorial's time over ours, geometric mean: forward **{gain('forward'):.2f}**, training "
        f"**{gain('training'):.2f}**; without GCT, of which tutorial code is the same operations, "
        f"{gain('forward', ('GCT',)):.2f} and {gain('training', ('GCT',)):.2f}.\n"
    )


def _times(rows: list[dict[str, Any]]) -> str:
    head = "| block | map | forward, us: ours, tutorial, timm | over the best | training, us | over the best |\n"
    head += "| --- | --- | --- | --- | --- | --- |\n"

    def cells(found: dict[str, float]) -> str:
        best = ratio(found)
        return (
            ", ".join(f"{v:.0f}" for v in found.values())
            + " | "
            + (f"**{best:.2f}**" if best > 1.05 else f"{best:.2f}")
        )

    return head + "".join(
        f"| {row['block']} | {shape_name(row['shape'])} | {cells(row['forward'])} | {cells(row['training'])} |\n"
        for row in rows
    )


def _counts(rows: list[dict[str, Any]], lines: dict[str, dict[str, int]]) -> str:
    text = (
        "Operations dispatched on 2x64x8x8, forward + backward, and those of them that are no views; memory kept for "
        "the\nbackward pass at 2x64x40x40, in maps of the input's size; lines of code without docstrings.\n\n"
    )
    text += "| block | operations: ours, tutorial, timm | no views | kept: ours, tutorial, timm | lines: ours, timm |\n"
    text += "| --- | --- | --- | --- | --- |\n"
    for row in rows:
        counts = row["operations"].values()
        cells = [", ".join(f"{c[0]} + {c[1]}" for c in counts), ", ".join(f"{c[2]} + {c[3]}" for c in counts)]
        cells += [
            ", ".join(f"{v:.2f}" for v in row["kept"].values()),
            ", ".join(map(str, lines[row["block"]].values())),
        ]
        text += f"| {row['block']} | " + " | ".join(cells) + " |\n"
    return text


def main(words: list[str]) -> int:
    """Measure, write the raw numbers and the page, print the page."""
    parser = argparse.ArgumentParser(prog="python tools/measure_blocks.py", description=__doc__)
    for flag in ("--launch", "--maps", "--quick"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--from", dest="raw", type=Path, help="write the page of numbers measured before")
    given = parser.parse_args(words)
    path = given.raw or RESULTS / "block-speed.json"
    if not given.raw:
        raw = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**raw, **_measured(given, words)}, indent=1) + "\n")
    page = to_markdown(json.loads(path.read_text()))
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)
    return 0


def _measured(given: argparse.Namespace, words: list[str]) -> dict[str, Any]:
    torch.set_num_threads(given.threads)
    both = given.launch == given.maps
    raw: dict[str, Any] = {"command": f"`{' '.join(['python tools/measure_blocks.py', *words])}`\n", "where": _where()}
    plans = {"launch": (LAUNCH, 400, 1e-3), "maps": (MAPS, 40, 0.0)}
    for key, (shapes, rounds, seconds) in plans.items():
        if both or getattr(given, key):
            raw[key] = []
            for name in ATTENTION_BLOCKS:
                for shape in shapes:
                    few = (rounds // 5 or 1) if given.quick else rounds
                    if name == "NL" and key == "maps":  # whole matrices of pairs take long: one image
                        shape, few = (1, *shape[1:]), 2 if shape[2] > 40 else few
                    raw[key].append(measure(name, shape, few, seconds))
                    print(name, shape, raw[key][-1]["forward"], raw[key][-1]["training"], file=sys.stderr)
    raw["counts"] = [_counted(name) for name in ATTENTION_BLOCKS]
    raw["lines"] = {name: lines_of(name) for name in ATTENTION_BLOCKS}
    return raw


def _counted(name: str) -> dict[str, Any]:
    """Return the operations of a block on a tiny map, and the memory it keeps on an ordinary one."""
    kept = measure(name, (2, 64, 40, 40), 1, 0, timed=False)["kept"]
    return {**measure(name, LAUNCH[0], 1, 0, timed=False), "kept": kept}


def _where() -> str:
    env = environment()
    return (
        f"{env['cpu']}, {env['threads']} thread, torch {env['torch']}, timm {timm_blocks.timm_version()}, "
        f"Python {env['python']}; float32, contiguous.\n"
    )
