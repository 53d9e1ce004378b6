"""Feature maps as they lie in memory: what is read and written in that order is read and written fast.

Maps are ``(N, C, H, W)``, or ``(N, G, C/G, H, W)`` with grouped channels. Small maps have the same number of
dimensions, of size 1 where they do not vary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from yolo_attn.blocks._common import is_traced

POSITIONS, CHANNELS = (-2, -1), (-3,)


def memory_order(x: Tensor) -> tuple[int, ...] | None:
    """Return the dimensions of a channels-last map in the order they lie in memory, ``None`` for any other map."""
    if is_traced() or x.stride(-3) != 1 or x.is_contiguous():
        return None
    return (0, x.dim() - 2, x.dim() - 1, *range(1, x.dim() - 2))


def like(small: Tensor, x: Tensor) -> Tensor:
    """Return a small map in the dtype and memory order of ``x``, so that elements that meet lie side by side."""
    small = small.to(x.dtype)
    if (order := memory_order(x)) is None:
        return small
    return small.permute(order).contiguous().permute(_inverse(order))


def reduce(how: Callable[..., Tensor], x: Tensor, dims: Sequence[int]) -> Tensor:
    """Reduce ``x`` over ``dims``, which stay with size 1.

    Args:
        how: ``torch.sum``, ``torch.mean`` or ``torch.amax``.
        x: A map.
        dims: Dimensions, counted from the last.
    """
    if (order := memory_order(x)) is None:
        return how(x, dims, keepdim=True)
    in_memory = [order.index(dim % x.dim()) for dim in dims]
    return how(x.permute(order), in_memory, keepdim=True).permute(_inverse(order))


def sum_like(x: Tensor, small: Tensor) -> Tensor:
    """Sum a map over the dimensions in which a small map does not vary."""
    return reduce(torch.sum, x, [dim for dim in range(1 - x.dim(), 0) if small.shape[dim] == 1])


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(dim) for dim in range(len(order))]
