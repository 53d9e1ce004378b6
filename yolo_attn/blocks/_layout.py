"""Feature maps as they lie in memory: what is read and written in that order is read and written fast.

Maps are ``(N, C, H, W)``, or ``(N, G, C/G, H, W)`` with grouped channels. Small maps have the same number of
dimensions, of size 1 where they do not vary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from yolo_attn.blocks._common import is_traced

POSITIONS, CHANNELS = (-2, -1), (-3,)


def memory_order(x: Tensor) -> tuple[int, ...] | None:
    """Return the dimensions of a channels-last map in the order they lie in memory, ``None`` for any other map."""
    if x.is_contiguous() or is_traced() or x.stride(-3) != 1:
        return None
    return (0, x.dim() - 2, x.dim() - 1, *range(1, x.dim() - 2))


def all_like(smalls: Iterable[Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """Return small maps in the dtype and memory order of ``x``, so that elements that meet lie side by side."""
    return laid_out([small if small.dtype == x.dtype else small.to(x.dtype) for small in smalls], x)


def laid_out(smalls: Sequence[Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """Return small maps in the memory order of ``x``."""
    if (order := memory_order(x)) is None:
        return tuple(smalls)
    return tuple(small if _lies_so_already(small) else _permuted(small, order) for small in smalls)


def _lies_so_already(small: Tensor) -> bool:
    return small.dim() == 4 and (small.shape[1] == 1 or small.stride(1) == 1)


def _permuted(small: Tensor, order: Sequence[int]) -> Tensor:
    return small.permute(order).contiguous().permute(_inverse(order))


def reduce(how: Callable[..., Tensor], x: Tensor, dims: Sequence[int]) -> Tensor:
    """Reduce ``x`` over ``dims``, which stay with size 1.

    Args:
        how: ``torch.sum``, ``torch.mean`` or ``torch.amax``.
        x: A map.
        dims: Dimensions, counted from the last. Both positions are reduced fast in any order.
    """
    if dims is POSITIONS or (order := memory_order(x)) is None:
        return how(x, dims, keepdim=True)
    in_memory = [order.index(dim % x.dim()) for dim in dims]
    return how(x.permute(order), in_memory, keepdim=True).permute(_inverse(order))


def sum_like(x: Tensor, small: Tensor) -> Tensor:
    """Sum a map over the dimensions in which a small map does not vary."""
    return reduce(torch.sum, x, [dim for dim in range(1 - x.dim(), 0) if small.shape[dim] == 1])


def weighted_sum_like(x: Tensor, weights: Tensor, small: Tensor) -> Tensor | None:
    """Sum a map times weights over the dimensions in which a small map does not vary, as products of matrices.

    Returns:
        The sum, or ``None`` where no matrix of it lies in memory.
    """
    over_channels = weights.shape[2:] == (1, 1) and small.shape[1] == 1
    over_positions = weights.shape[1:] == (1, *x.shape[2:]) and small.shape[2:] == (1, 1)
    if over_channels:
        return torch.bmm(weights.flatten(2).transpose(1, 2), x.flatten(2)).unflatten(2, x.shape[2:])
    if over_positions:
        return torch.bmm(weights.flatten(2), x.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(3)
    if memory_order(x) is not None:
        return None
    over_rows = weights.shape[2:] == (x.shape[2], 1) and small.shape[2:] == (1, x.shape[3])
    vectors = weights.transpose(2, 3) if over_rows else weights  # (N, C, 1, H) or (N, C, 1, W)
    lines = x if over_rows else x.transpose(2, 3)
    return torch.bmm(vectors.flatten(0, 1), lines.flatten(0, 1)).reshape(small.shape)


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(dim) for dim in range(len(order))]
