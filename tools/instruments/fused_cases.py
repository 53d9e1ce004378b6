"""Compare the fused forms of blocks with the plain blocks in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolo_attn.blocks import ATTENTION_BLOCKS, fused

FUSED = tuple(name for name, block in ATTENTION_BLOCKS.items() if block.fused)
BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
"""Largest relative error, the norm of the difference over that of the right values."""
LAYOUTS = (
    (torch.float32, False), (torch.float32, True), (torch.float16, True), (torch.float16, False), (torch.bfloat16, True)
)  # fmt: skip
"""Each dtype with the layouts to test it in; a kernel reads bfloat16 as it does float16."""

SMALL = ((2, 16, 5, 7), (1, 16, 1, 1), (3, 32, 1, 5), (1, 64, 13, 17))
"""Shapes that the interpreter gets through in seconds."""
MORE: dict[str, list[tuple[dict[str, Any], tuple[int, int, int, int]]]] = {
    "SimAM": [({"init": "identity"}, (1, 4, 70, 70))],
    "CBAM": [({"kernel_size": 3}, (1, 5, 6, 7)), ({}, (2, 144, 5, 7))],
    "EMA": [({"factor": 1}, (1, 3, 50, 50)), ({"factor": 3, "init": "identity"}, (2, 36, 1, 5))],
    "sSE": [({"bias": True}, (1, 144, 5, 7))],
    "SE": [({}, (18, 8, 2, 3))],
    "GC": [({"pooling": "avg", "fusion": "add+mul", "init": "identity"}, (2, 16, 3, 5))],
    "SNL": [({}, (1, 24, 3, 5))],
    "scSE": [({"bias": True, "combine": "max"}, (2, 16, 3, 5))],
    "SA": [({"init": "identity"}, (1, 4, 70, 70)), ({"init": "identity", "shuffle": False}, (2, 16, 5, 7))],
    "CA": [({"min_hidden": 20, "init": "identity"}, (2, 48, 33, 20)), ({"min_hidden": 1}, (65, 4, 2, 1))],
    "ELA": [
        ({"norm_groups": 1, "kernel_size": 9}, (1, 16, 3, 260)),
        ({"conv_groups": 8, "norm_groups": 4}, (2, 24, 33, 20)),
    ],
}
"""Options and shapes that reach further branches of a kernel, in both layouts: several tiles, say."""
LARGE = ((16, 64, 80, 80), (3, 64, 160, 160), (16, 256, 20, 20), (2, 1280, 7, 9), (1, 128, 40, 40))
"""Further shapes, for a GPU."""
REFUSED = {"scSE": ({"combine": "concat"},)}
"""Hyper-parameters that have no fused form."""
QUICK = {"EMA": (("factor", 4),)}
"""Hyper-parameters with fewer programs than by default, which the interpreter runs one after the other."""
WIDEST = {"EMA": 512, "cSE": 512, "scSE": 512, "SNL": 362}
"""Most channels of blocks that refuse more, by default hyper-parameters."""


class Case(NamedTuple):
    """A block with hyper-parameters, and the map to compute it on."""

    block: str
    options: tuple[tuple[str, Any], ...]
    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    channels_last: bool
    training: bool = True

    def __str__(self) -> str:
        options = "".join(f" {name}={value}" for name, value in self.options)
        layout = "channels last" if self.channels_last else "contiguous"
        mode = "" if self.training else " eval"
        return f"{self.block}{options} {'x'.join(map(str, self.shape))} {str(self.dtype)[6:]} {layout}{mode}"


def options_of(name: str) -> list[tuple[tuple[str, Any], ...]]:
    """Return the hyper-parameters to test a block with: defaults, all variants, and the start as the identity."""
    cls = ATTENTION_BLOCKS[name]
    every = ({}, *cls.variants, {"init": "identity"})
    return [tuple(options.items()) for options in every if options not in REFUSED.get(name, ())]


def cases(name: str, shapes: tuple[tuple[int, int, int, int], ...] = SMALL) -> Iterator[Case]:
    """Yield the cases of a block: all options on the first shape, and all shapes with the defaults."""
    for options in options_of(name):
        yield Case(name, options, shapes[0], torch.float32, False)
    usual = QUICK.get(name, ()) if shapes is SMALL else ()
    for shape in shapes:
        for dtype, channels_last in LAYOUTS if shape[1] <= WIDEST.get(name, shape[1]) else ():
            yield Case(name, usual, shape, dtype, channels_last)
    for more, shape in MORE.get(name, []):
        for channels_last in (False, True):
            yield Case(name, tuple(more.items()), shape, torch.float32, channels_last)
    yield Case(name, usual, shapes[0], torch.float32, False, training=False)


def made(case: Case, device: str = "cpu") -> nn.Module:
    """Return the block of a case, all parameters and running statistics random: nothing may vanish."""
    torch.manual_seed(0)
    block = ATTENTION_BLOCKS[case.block](case.shape[1], **dict(case.options))
    for name, value in block.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if "running_var" in name else 0.5 * torch.randn(value.shape))
    return block.train(case.training).to(device)


def inputs(case: Case, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return a map and the gradient of the result."""
    generator = torch.Generator().manual_seed(1)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    x, gy = ((torch.randn(case.shape, generator=generator) + shift).to(case.dtype) for shift in (0.3, 0.0))
    return x.to(device).to(memory_format=layout), gy.to(device).to(memory_format=layout)


def values(block: nn.Module, x: Tensor, gy: Tensor) -> dict[str, Tensor]:
    """Return the result and all gradients."""
    x = x.detach().requires_grad_()
    y = block(x)
    names, parameters = zip(*block.named_parameters(), strict=True) if [*block.parameters()] else ((), ())
    gradients = torch.autograd.grad(y, (x, *parameters), gy)
    return dict(zip(("y", "x", *names), (y.detach(), *gradients), strict=True))


def errors(case: Case, device: str = "cpu") -> dict[str, float]:
    """Return the relative error of the result and of each gradient; running statistics count likewise.

    Memory that nobody wrote is NaN, so a missing store is seen.
    """
    block, (x, gy) = made(case, device), inputs(case, device)
    exact = made(case, device).double()
    with fused.fused(), _poisoned():
        found = values(block, x, gy)
    assert fused.paths()[case.block] == "fused", fused.paths()
    assert found["y"].stride() == x.stride()
    assert found["y"].dtype == x.dtype
    with fused.fused(False):
        right = values(exact, x.double(), gy.double())
    pairs = [(name, found[name], right[name]) for name in found]
    pairs += [(name, b, dict(exact.named_buffers())[name]) for name, b in block.named_buffers()]
    scale = max(float(value.norm()) for name, value in right.items() if name not in ("y", "x")) if len(right) > 2 else 0
    return {name: _relative(a, b, 1e-3 * scale if name not in ("y", "x") else 0.0) for name, a, b in pairs}


def _relative(a: Tensor, b: Tensor, least: float) -> float:
    """Return the error, relative to the right values, or to ``least`` where those cancel to nothing."""
    return float((a.double() - b.double()).norm() / max(float(b.double().norm()), least, 1e-12))


class _poisoned:  # noqa: N801
    """Fill new tensors with NaN."""

    def __enter__(self) -> None:
        torch.use_deterministic_algorithms(True, warn_only=True)

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(False)
