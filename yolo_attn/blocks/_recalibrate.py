"""Run a block as reading statistics, computing small maps from them, and writing these onto the feature map.

Left to itself autograd goes over the map once for every path by which a gradient reaches it, and keeps what each step
needs. Here the map is kept once, and its gradient is written once: the first of the two nodes below, which reads the
statistics, hands the map on; the last, which writes, gives the gradient it received back as it is; and the first brings
together what reaches the map directly and through its statistics.

While a model is compiled, exported or transformed, the same functions run as they are: a compiler fuses by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from yolo_attn.blocks._common import is_traced
from yolo_attn.blocks._layout import all_like, laid_out
from yolo_attn.blocks._statistics import Statistic, Tensors
from yolo_attn.blocks._writes import Write, gradient_of_map, multiply

_transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


def recalibrate(
    x: Tensor,
    statistic: Statistic,
    smalls: Callable[..., Tensors],
    *arguments: Any,
    write: Write = multiply,
) -> Tensor:
    """Return ``write(x, *smalls(*statistic(x, *arguments)))``.

    Args:
        x: Feature map.
        statistic: What is read from it.
        smalls: Computes the small maps (gates, terms) from the statistics.
        *arguments: Further arguments of the statistic, e.g. the weight of a projection.
        write: What the small maps do to ``x``.
    """
    if is_plain():
        return write(x, *all_like(smalls(*statistic(x, *arguments)), x))
    run = Recalibration(x)
    return run.write(write, *smalls(*run.read(statistic, *arguments)))


def is_plain() -> bool:
    """Whether the functions run as they are: nothing to differentiate, or a compiler or transform looks on."""
    return not torch.is_grad_enabled() or is_traced() or _transformed()


class Recalibration:
    """A feature map on its way through a block: statistics are read any number of times, then it is written once.

    Args:
        x: Feature map.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._last = _Link()
        self._plain = is_plain()

    def read(self, statistic: Statistic, *arguments: Any) -> Tensors:
        """Return statistics of the map."""
        if self._plain:
            return statistic(self.x, *arguments)
        self._last = _Link()
        self.x, *statistics = _Read.apply(statistic, self._last, self.x, *arguments)
        return tuple(statistics)

    def write(self, write: Write, *smalls: Tensor) -> Tensor:
        """Return the map with small maps put onto it; they are taken in its dtype."""
        smalls = all_like(smalls, self.x)
        if self._plain:
            return write(self.x, *smalls)
        return _Write.apply(write, self._last, self.x, *smalls)


class _Link:
    """What the last reading has to know of the writing, whose gradient it receives as it is."""

    write: Write | None = None
    smalls: Tensors = ()
    free: list[Tensor] = []  # noqa: RUF012  # replaced, never changed


class _Read(Function):
    @staticmethod
    def forward(ctx: Any, statistic: Statistic, link: _Link, x: Tensor, *arguments: Tensor) -> Tensors:
        statistics = statistic(x, *arguments)
        ctx.statistic, ctx.link, ctx.number = statistic, link, len(arguments)
        ctx.save_for_backward(x, *arguments, *statistics)
        return x, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        arguments, statistics = saved[: ctx.number], saved[ctx.number :]
        link = ctx.link
        free, link.free = link.free, []
        terms, of_arguments = ctx.statistic.spread(x, arguments, statistics, laid_out(gradients, x), free)
        if not ctx.needs_input_grad[2]:
            return None, None, None, *of_arguments
        if link.write is None:  # it comes from another reading, which made it for this one
            return None, None, gradient_of_map(gy, (), terms, [gy]), *of_arguments
        factors, more = link.write.slope(x, gy, *link.smalls)
        return None, None, gradient_of_map(gy, factors, [*terms, *more], free), *of_arguments


class _Write(Function):
    @staticmethod
    def forward(ctx: Any, write: Write, link: _Link, x: Tensor, *smalls: Tensor) -> Tensor:
        link.write, link.smalls = write, tuple(small.detach() for small in smalls)  # attached they would form a cycle
        ctx.write, ctx.link = write, link
        ctx.save_for_backward(x, *smalls)
        return write(x, *smalls)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, *smalls = ctx.saved_tensors
        gradients, ctx.link.free = ctx.write.pull(x, gy, *smalls)
        return None, None, gy, *gradients
