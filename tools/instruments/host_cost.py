"""Time the host's part of a training step of each block with a fused form, and count its kernels.

The map is 2x64x8x8 on the CPU, where one step is forward and backward with gradients of the map and all parameters. The
kernels of the fused form are not launched: what is left are the checks, the memory and the autograd node. The plain
block and tutorial code carry out their operations, which on a map so small takes little beside dispatching them; on a
GPU the host would launch a kernel instead, for the fused form too (not included: some microseconds each).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean
from typing import Any
from unittest import mock

import torch

from instruments.block_speed import Counted, least
from instruments.paths import RESULTS, ROOT
from instruments.site.tables import write_pages
from yolo_attn.bench import launches, tutorial
from yolo_attn.bench.cases import shape_name
from yolo_attn.blocks import ATTENTION_BLOCKS, fused
from yolo_attn.util.env import environment

SHAPE = (2, 64, 8, 8)
PAGE = ROOT / "docs" / "fused.md"


def measure(name: str, rounds: int, seconds: float = 2e-3) -> dict[str, Any]:
    """Return the microseconds of a step by fused form, plain block and tutorial code, and what is launched."""
    from yolo_attn.blocks.fused import slab

    torch.manual_seed(0)
    block = ATTENTION_BLOCKS[name](SHAPE[1])
    x, upstream = torch.randn(SHAPE).requires_grad_(), torch.randn(SHAPE)
    modules = {"fused": block, "plain": block, "tutorial": tutorial.from_block(block)}

    def step_of(arm: str) -> Callable[[], object]:
        module, wanted = modules[arm], [x, *modules[arm].parameters()]

        def step() -> object:
            fused.switch(arm == "fused")
            return torch.autograd.grad(module(x), wanted, upstream)

        return step

    def forward_of(arm: str) -> Callable[[], object]:
        @torch.no_grad()
        def forward() -> object:
            fused.switch(arm == "fused")
            return modules[arm](x)

        return forward

    with (
        fused.fused(),
        mock.patch.object(fused, "unavailable", _nothing),
        mock.patch.object(fused, "_interpreted", _yes),
        mock.patch.object(slab, "launch", _nothing),
    ):
        training = least({arm: step_of(arm) for arm in modules}, rounds, seconds)
        forward = least({arm: forward_of(arm) for arm in modules}, rounds, seconds)
        assert fused.paths()[name] == "fused", fused.paths()
    with fused.fused(False), Counted() as there:
        y = block(x)
    with Counted() as back:
        torch.autograd.grad(y, [x, *block.parameters()], upstream)
    return {
        "block": name,
        "forward": forward,
        "training": training,
        "kernels": launches.planned(ATTENTION_BLOCKS[name](SHAPE[1]), SHAPE, torch.float32),
        "plain operations": [there.computing, back.computing],
    }


def _nothing(*_: object, **__: object) -> None:
    pass


def _yes() -> bool:
    return True


def tables(raw: dict[str, Any]) -> tuple[str, str]:
    """Return the table of kernels and that of host times."""
    kernels = ["| block | kernels forward + backward | plain: operations forward + backward |", "| --- | --- | --- |"]
    head = "| block | forward, us: fused, plain, tutorial | training, us | plain / fused | tutorial / fused |"
    times = [head, "| --- | --- | --- | --- | --- |"]
    for row in raw["blocks"]:
        counts = [" + ".join(map(str, row[kind])) for kind in ("kernels", "plain operations")]
        kernels.append(f"| {row['block']} | {' | '.join(counts)} |")
        cells = [", ".join(f"{us:.0f}" for us in row[kind].values()) for kind in ("forward", "training")]
        cells += [f"{row['training'][arm] / row['training']['fused']:.1f}" for arm in ("plain", "tutorial")]
        times.append(f"| {row['block']} | {' | '.join(cells)} |")
    took = [row["training"] for row in raw["blocks"]]
    means = [f"{geometric_mean(t[arm] / t['fused'] for t in took):.1f}" for arm in ("plain", "tutorial")]
    times.append(f"| geometric mean | | | {' | '.join(means)} |")
    return "\n".join(kernels), f"{_said(raw)}\n" + "\n".join(times)


def _said(raw: dict[str, Any]) -> str:
    env = raw["environment"]
    return (
        f"Microseconds of processor time on a map of {shape_name(SHAPE)}, least of many rounds\n"
        f"(`{raw['command']}`; {env['cpu']}, one thread, torch {env['torch']}, Python {env['python']}).\n"
        "The kernels are not launched, and the plain block and tutorial code compute on the CPU: these are costs of\n"
        "checks, memory and dispatching, not times of a GPU, where each launch costs the host some microseconds more.\n"
        "The ratios are those of training.\n"
    )


def write_page(raw: dict[str, Any], page: Path = PAGE) -> None:
    """Write both tables between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    for mark, table in zip(("kernels", "host"), tables(raw), strict=True):
        start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}{table}\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")


def main(words: list[str]) -> int:
    """Measure all blocks with a form, and write raw figures and page."""
    parser = argparse.ArgumentParser(prog="python tools/measure_host.py", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--from", dest="raw", type=Path)
    given = parser.parse_args(words)
    path = given.raw or RESULTS / "host-cost.json"
    if not given.raw:
        torch.set_num_threads(1)
        names = [name for name, block in ATTENTION_BLOCKS.items() if block.fused]
        raw = {
            "command": " ".join(["python tools/measure_host.py", *words]),
            "environment": environment(),
            "blocks": [measure(name, 10 if given.quick else 100) for name in names],
        }
        path.write_text(json.dumps(raw, indent=1) + "\n")
    write_page(json.loads(path.read_text()))
    print(PAGE, *write_pages(), sep="\n")
    return 0
