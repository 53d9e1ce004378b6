"""What a block's ``attention(x)`` returned, as arrays with a meaning, and the numbers that describe them.

The meaning is read from the shapes, so that a user's block is understood as a shipped one is. Needs numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DEAD, SATURATED = 0.05, 0.95
"""Shares of a gate's range: below the first it is called dead, above the second saturated."""

NAMES = {
    "channel": "channel gate",
    "rows": "row gate",
    "columns": "column gate",
    "product": "row gate x column gate",
    "spatial": "spatial gate",
    "groups": "spatial gate of each group",
    "weights": "pooling weights",
    "pairs": "pairwise weights",
    "full": "gate of every value",
    "other": "result of a shape unknown here",
}
"""What is drawn, by kind. ``rows`` vary along the height, ``columns`` along the width."""


@dataclass(frozen=True)
class Gate:
    """One map that a block computed for one image.

    Attributes:
        kind: Key of ``NAMES``.
        values: ``(C, 1, 1)`` channel, ``(C, H, 1)`` rows, ``(C, 1, W)`` columns, ``(C, H, W)`` product and full,
            ``(1, H, W)`` spatial and weights, ``(G, H, W)`` groups, ``(HW, HW)`` pairs.
        size: Height and width of the block's feature map.
        top: Upper end of the range, which begins at 0; ``None`` for weights and where nothing is known.
        declared: Whether the block says so; else the range is the smallest of (0, 1) and (0, 2) that holds the values.
        fresh: What the block computes for the same input as freshly built; ``None`` where it cannot be built.
    """

    kind: str
    values: np.ndarray
    size: tuple[int, int]
    top: float | None
    declared: bool
    fresh: np.ndarray | None = None

    @property
    def name(self) -> str:
        """What it is, in words."""
        return NAMES[self.kind]

    @property
    def per_channel(self) -> bool:
        """Whether it is one value per channel rather than a map of positions."""
        return self.kind == "channel"

    @property
    def neutral(self) -> float | None:
        """The value that leaves the features as they are, where it lies inside the range."""
        return 1.0 if self.top is not None and self.top > 1 else None

    def grids(self, fresh: bool = False) -> np.ndarray | None:
        """Return the maps over positions that can be laid over an image, ``(K, H, W)``; ``None`` where there are none.

        Weights come as multiples of the uniform weight. Of pairwise weights there is one map, the average over the
        positions that look: how much each position is looked at.
        """
        values = self.fresh if fresh else self.values
        if values is None or self.kind in ("channel", "rows", "columns", "other"):
            return None
        if self.kind == "pairs":
            return self.seen_from(None, fresh)[None]
        return values * math.prod(self.size) if self.kind == "weights" else values

    def seen_from(self, position: tuple[int, int] | None, fresh: bool = False) -> np.ndarray:
        """Return how much of every position a pairwise block takes, ``(H, W)``, in multiples of the uniform weight.

        Args:
            position: Row and column of the position that looks; ``None`` for the average over all.
            fresh: Of the freshly built block.
        """
        pairs = self.fresh if fresh else self.values
        weights = pairs.mean(0) if position is None else pairs[position[0] * self.size[1] + position[1]]
        return weights.reshape(self.size) * pairs.shape[1]


def read_gates(
    maps: Sequence[np.ndarray],
    channels: int,
    size: tuple[int, int],
    tops: Sequence[float | None],
    fresh: Sequence[np.ndarray] | None = None,
) -> list[Gate]:
    """Return the gates that a block's maps are, a product of row and column gates included.

    Args:
        maps: What ``attention(x)`` returned for one image, each without its batch dimension.
        channels: Channels of the block's input.
        size: Height and width of the block's input.
        tops: Upper ends of the ranges, as far as the block declares them; one for each map; weights have none.
        fresh: The same maps of the freshly built block, if there is one.
    """
    befores: Sequence[np.ndarray | None] = fresh if fresh is not None else [None] * len(maps)
    gates = []
    for values, top, before in zip(maps, tops, befores, strict=True):
        kind, shaped = _kind_of(values, channels, size, is_gate=top is not None)
        before = before.reshape(shaped.shape) if before is not None else None
        known = top if top is not None else _assumed_top(kind, shaped)
        gates.append(Gate(kind, shaped, size, known, top is not None, before))
    if [gate.kind for gate in gates] == ["rows", "columns"]:
        gates.append(_product(*gates))
    return gates


def _product(rows: Gate, columns: Gate) -> Gate:
    top = None if rows.top is None or columns.top is None else rows.top * columns.top
    known = rows.fresh is not None and columns.fresh is not None
    fresh = rows.fresh * columns.fresh if known else None
    declared = rows.declared and columns.declared
    return Gate("product", rows.values * columns.values, rows.size, top, declared, fresh)


def _kind_of(values: np.ndarray, channels: int, size: tuple[int, int], is_gate: bool = False) -> tuple[str, np.ndarray]:
    """Tell what a map is by its shape; where no range is declared, weights are told from gates by their sum."""
    height, width = size
    if values.shape in ((channels,), (channels, 1, 1)):
        return "channel", values.reshape(channels, 1, 1)
    if values.shape == (height * width, height * width):
        return "pairs", values
    if values.shape in ((height, width), (1, height, width)):
        values = values.reshape(1, height, width)
        return ("weights" if not is_gate and _sums_to_one(values) else "spatial"), values
    if values.shape == (channels, height, 1):
        return "rows", values
    if values.shape == (channels, 1, width):
        return "columns", values
    if values.ndim == 3 and values.shape[1:] == size:
        return ("full" if len(values) == channels else "groups"), values
    return "other", values


def _sums_to_one(values: np.ndarray) -> bool:
    return bool(values.size > 1 and values.min() >= 0 and abs(float(values.sum(dtype=np.float64)) - 1) < 1e-3)


def _assumed_top(kind: str, values: np.ndarray) -> float | None:
    if kind in ("weights", "pairs", "other") or not values.size:
        return None
    return assumed_top(values.min(), values.max())


def assumed_top(low: float, high: float) -> float | None:
    """Return the upper end of the smallest usual range, (0, 1) or (0, 2), that holds values of a gate, if one does."""
    return next((top for top in (1.0, 2.0) if low >= 0 and high <= top), None)


# --- numbers ----------------------------------------------------------------------------------------------------------
def statistics(gate: Gate) -> dict[str, Any]:
    """Return the numbers that describe a gate, over all of its values, the padding of the image included.

    Returns:
        ``min``, ``mean``, ``max``, ``std`` (population); ``dead`` and ``saturated``, the shares of values below
        ``DEAD`` and above ``SATURATED`` of the range; of weights ``entropy`` (nats), ``uniformity`` (entropy over that
        of the uniform weights, 1 where all positions count the same) and ``peak`` (the largest weight in multiples of
        the uniform one), of pairwise weights their means over the positions that look; ``from_init``, mean and largest
        absolute difference to what the freshly built block computes. What does not apply is ``None``.
    """
    values = gate.values.astype(np.float64)
    found: dict[str, Any] = {
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "std": float(values.std()),
        "dead": None if gate.top is None else float((values < DEAD * gate.top).mean()),
        "saturated": None if gate.top is None else float((values > SATURATED * gate.top).mean()),
        **_of_weights(gate.kind, values),
        "from_init": None,
    }
    if gate.fresh is not None:
        moved = np.abs(values - gate.fresh)
        found["from_init"] = {"mean": float(moved.mean()), "max": float(moved.max())}
    return found


def _of_weights(kind: str, values: np.ndarray) -> dict[str, float | None]:
    lines = values.reshape(len(values), -1)
    are_weights = kind in ("weights", "pairs") and values.min() >= 0 and np.allclose(lines.sum(1), 1, atol=1e-3)
    if not are_weights:
        return dict.fromkeys(("entropy", "uniformity", "peak"))
    logs = np.log(lines, out=np.zeros_like(lines), where=lines > 0)
    entropy = float(-(lines * logs).sum(1).mean())
    positions = lines.shape[1]
    return {
        "entropy": entropy,
        "uniformity": entropy / math.log(positions) if positions > 1 else 1.0,
        "peak": float(lines.max(1).mean()) * positions,
    }
