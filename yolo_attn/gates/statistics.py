"""What a gate does, in a few numbers: plain functions of the maps that ``block.attention(x)`` returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.gates.find import declared_tops
from yolo_attn.gates.gate import DEAD, SATURATED, assumed_top


class GateStatistics(NamedTuple):
    """Statistics over all values of a map.

    Attributes:
        mean: Mean.
        std: Standard deviation, of all values rather than of a sample.
        low: Smallest value.
        high: Largest value.
        dead: Share of values below ``DEAD`` of the range; NaN where the map has no range.
        saturated: Share of values above ``SATURATED`` of the range; NaN where the map has no range.
    """

    mean: float
    std: float
    low: float
    high: float
    dead: float
    saturated: float


def maps_of(block: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Return the maps a block computes for its input, as a tuple also where it is only one.

    Raises:
        AttributeError: If the block has no ``attention(x)``.
    """
    found = block.attention(x)
    return (found,) if isinstance(found, Tensor) else tuple(found)


def ranges_of(block: nn.Module, maps: tuple[Tensor, ...]) -> tuple[float | None, ...]:
    """Return the top of each map's range, which begins at 0.

    It is 1 for a sigmoid, 2 for one that starts as the identity, and ``None`` for what is no gate: weights that sum to
    1 over positions, or values of a user's block outside 0 to 2.
    """
    if type(block) in ATTENTION_BLOCKS.values():
        return declared_tops(block, len(maps))
    return tuple(
        None if _are_weights(values) else assumed_top(float(values.min()), float(values.max())) for values in maps
    )


def _are_weights(values: Tensor) -> bool:
    if values.dim() < 3 or values[0].numel() == 1:
        return False
    sums = values.flatten(1).sum(1) if values.dim() == 4 else values.sum(-1)  # (N, 1, H, W), (N, HW, HW)
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def statistics_of(values: Tensor, top: float | None) -> GateStatistics:
    """Return the statistics of a map.

    Args:
        values: The map, of any shape.
        top: Top of its range, or ``None`` where it has none.

    Examples:
        >>> statistics_of(torch.tensor([0.0, 0.5, 1.0, 0.5]), top=1.0)
        GateStatistics(mean=0.5, std=0.3535533845424652, low=0.0, high=1.0, dead=0.25, saturated=0.25)
    """
    values = values.detach().float()
    dead = saturated = float("nan")
    if top is not None:
        dead = float((values < DEAD * top).float().mean())
        saturated = float((values > SATURATED * top).float().mean())
    std, mean = torch.std_mean(values, correction=0)
    return GateStatistics(float(mean), float(std), float(values.min()), float(values.max()), dead, saturated)


def distance(values: Tensor, first: Tensor) -> float:
    """Return how far a map is from an earlier one of the same input: mean difference over mean size of the earlier.

    Examples:
        >>> distance(torch.tensor([0.5, 0.6]), torch.tensor([0.5, 0.5]))
        0.10000002384185791
    """
    first = first.to(values.device, torch.float32)
    size = float(first.abs().mean())
    moved = float((values.detach().float() - first).abs().mean())
    return moved / size if size else (0.0 if moved == 0 else float("inf"))


def thinned(values: Tensor, most: int = 2**16) -> Tensor:
    """Return at most so many of a map's values, evenly spaced and flat, in float32 on the CPU: enough to keep."""
    step = -(-values.numel() // most)
    return values.detach().flatten()[::step].float().cpu()
