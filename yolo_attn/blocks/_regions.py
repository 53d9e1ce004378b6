"""Maps divided into ``S x S`` regions of equal size, and the choice of some of them for each, for BRA.

Where the graph is exported every tensor has four dimensions, batch first, and the choice is a product with rows of an
identity matrix: several runtimes have neither ``topk`` nor ``gather``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from yolo_attn.blocks.ops import is_exported


def region_size(x: Tensor, side: int) -> tuple[int, int]:
    """Return height and width of a region, rounded up."""
    return (x.shape[2] + side - 1) // side, (x.shape[3] + side - 1) // side


def by_region(x: Tensor, side: int, width: int) -> Tensor:
    """Return ``(N, G width, H, W)`` as ``(N, G, S S w, width)``, the ``w`` positions of a region together.

    Incomplete regions, at the bottom and at the right, are filled with zeros.
    """
    (n, channels), (tall, wide) = x.shape[:2], region_size(x, side)
    x = F.pad(x, (0, side * wide - x.shape[3], 0, side * tall - x.shape[2]))
    if is_exported():
        x = x.reshape(n, channels * side * tall, side, wide).transpose(2, 3)
        x = x.reshape(n, channels * side, tall * wide, side).transpose(2, 3)
        return x.reshape(n, channels // width, width, side * side * tall * wide).transpose(2, 3)
    x = x.reshape(n, channels // width, width, side, tall, side, wide).permute(0, 1, 3, 5, 4, 6, 2)
    return x.reshape(n, channels // width, side * side * tall * wide, width)


def to_map(z: Tensor, side: int, like: Tensor) -> Tensor:
    """Return ``(N, G, S S w, width)`` as ``(N, G width, H, W)``, of the height and width of another map."""
    (n, groups, _, width), (tall, wide) = z.shape, region_size(like, side)
    if is_exported():
        z = z.transpose(2, 3).reshape(n, groups * width * side, side, tall * wide).transpose(2, 3)
        z = z.reshape(n, groups * width * side * tall, wide, side).transpose(2, 3)
    else:
        z = z.reshape(n, groups, side, side, tall, wide, width).permute(0, 1, 6, 2, 4, 3, 5)
    return z.reshape(n, groups * width, side * tall, side * wide)[:, :, : like.shape[2], : like.shape[3]]


def largest(affinity: Tensor, count: int) -> Tensor:
    """Return for each row of ``(N, 1, R, R)`` the columns of its largest values, ``(N, 1, R, count)``.

    In an exported graph they are rows of an identity matrix, ``(N, 1, R count, R)``, of equal values the first one.
    """
    if not is_exported():
        return affinity.topk(count).indices
    regions, chosen = affinity.shape[3], []
    order = torch.arange(regions, 0, -1, device=affinity.device).to(affinity.dtype).view(1, 1, 1, regions)
    span = affinity.amax(3, keepdim=True) - affinity.amin(3, keepdim=True) + 1
    for _ in range(count):
        chosen.append(_is_largest(_is_largest(affinity) * order))
        affinity = affinity - chosen[-1] * span
    return torch.cat(chosen, 3).reshape(affinity.shape[0], 1, regions * count, regions)


def _is_largest(z: Tensor) -> Tensor:
    """Return 1 where a value is the largest of its row, exactly, and 0 elsewhere, without a comparison."""
    return (z - z.amax(3, keepdim=True)).floor().clamp(min=-1) + 1


def gather(z: Tensor, routes: Tensor, side: int) -> Tensor:
    """Return the positions of the regions that each region was given, ``(N, G S S, count w, width)``.

    Args:
        z: ``(N, G, S S w, width)``.
        routes: What :func:`largest` returned.
        side: Regions ``S`` along each side.
    """
    (n, groups, positions, width), regions = z.shape, side * side
    rows = z.reshape(n, groups, regions, positions // regions * width)
    if is_exported():
        rows = routes.to(z.dtype) @ rows
    else:
        first = torch.arange(n * groups, device=z.device).view(n, groups, 1, 1) * regions
        rows = F.embedding(first + routes, rows.flatten(0, 2))
    count = routes.shape[2] // regions if is_exported() else routes.shape[3]
    return rows.reshape(n, groups * regions, count * (positions // regions), width)
