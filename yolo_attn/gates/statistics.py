"""Statistics of the attention maps that ``block.attention(x)`` returns. Needs numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DEAD, SATURATED = 0.05, 0.95
"""Shares of a gate's range: a value below the first counts as dead, one above the second as saturated."""

_UNIT_SUM = 1e-3  # by how much a sum of weights may differ from 1


@dataclass(frozen=True)
class Change:
    """Absolute difference of a map from an earlier one: mean and largest over its values."""

    mean: float
    max: float


@dataclass(frozen=True)
class GateStatistics:
    """Statistics over all values of a map.

    Attributes:
        min: Smallest value.
        mean: Mean.
        max: Largest value.
        std: Standard deviation of the population.
        dead: Share of values below ``DEAD`` of the range, in [0, 1]; ``None`` without a range.
        saturated: Share of values above ``SATURATED`` of the range, in [0, 1]; ``None`` without a range.
        entropy: Entropy of weights in nats, of pairwise weights the mean over queries; ``None`` for gates.
        uniformity: Entropy over that of uniform weights, in [0, 1]; ``None`` for gates.
        peak: Largest weight as a multiple of the uniform weight; ``None`` for gates.
        from_init: Difference from the map of the freshly built block; ``None`` where it is unknown.
    """

    min: float
    mean: float
    max: float
    std: float
    dead: float | None = None
    saturated: float | None = None
    entropy: float | None = None
    uniformity: float | None = None
    peak: float | None = None
    from_init: Change | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON values, by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> GateStatistics:
        """Return statistics from what :meth:`to_json` returned; further keys are ignored."""
        known = {name: given.get(name) for name in cls.__dataclass_fields__}
        change = known.pop("from_init")
        return cls(**known, from_init=Change(**change) if change else None)  # type: ignore[arg-type]


def statistics_of(
    values: np.ndarray, top: float | None, kind: str = "other", fresh: np.ndarray | None = None
) -> GateStatistics:
    """Return the statistics of a map.

    Args:
        values: The map, of one image or of several; of weights the last two axes are positions, of pairs the
            last one; of branches the last but one is the branches.
        top: Upper end of its range, which begins at 0; ``None`` without a range.
        kind: Key of :data:`yolo_attn.gates.gate.NAMES`.
        fresh: The map of the freshly built block for the same input.

    Examples:
        >>> found = statistics_of(np.array([0.0, 0.5, 1.0, 0.5]), top=1.0)
        >>> found.mean, round(found.std, 6), found.dead, found.saturated
        (0.5, 0.353553, 0.25, 0.25)
    """
    values = values.astype(np.float64)
    change = None
    if fresh is not None:
        moved = np.abs(values - fresh)
        change = Change(float(moved.mean()), float(moved.max()))
    return GateStatistics(
        min=float(values.min()),
        mean=float(values.mean()),
        max=float(values.max()),
        std=float(values.std()),
        dead=None if top is None else float((values < DEAD * top).mean()),
        saturated=None if top is None else float((values > SATURATED * top).mean()),
        **_weight_statistics(values, kind),
        from_init=change,
    )


def are_weights(values: np.ndarray, kind: str = "other") -> bool:
    """Tell whether a map of one image holds weights: none negative, summing to 1 within 0.001.

    Args:
        values: The map. A single value is taken for a gate, unless it is of kind ``"pairs"``.
        kind: ``"pairs"`` if each row of the map is a set of weights of its own.
    """
    lines = values if kind == "pairs" else values.reshape(1, -1)
    if not values.size or (kind != "pairs" and values.size < 2) or values.min() < 0:
        return False
    return bool((np.abs(lines.sum(-1, dtype=np.float64) - 1) < _UNIT_SUM).all())


def guess_upper_bound(low: float, high: float) -> float | None:
    """Return the upper end of the smallest usual range, (0, 1) or (0, 2), that holds all values; ``None`` if none does.

    Args:
        low: Smallest value.
        high: Largest value.
    """
    return next((top for top in (1.0, 2.0) if low >= 0 and high <= top), None)


def distance(values: np.ndarray, first: np.ndarray) -> float:
    """Return the distance of a map from an earlier one: mean absolute difference over mean absolute value.

    Args:
        values: The map.
        first: The earlier map, of the same input.

    Examples:
        >>> round(distance(np.array([0.5, 0.6]), np.array([0.5, 0.5])), 6)
        0.1
    """
    size = float(np.abs(first, dtype=np.float64).mean())
    moved = float(np.abs(np.subtract(values, first, dtype=np.float64)).mean())
    return moved / size if size else (0.0 if moved == 0 else float("inf"))


def subsample(values: np.ndarray, most: int = 2**16) -> np.ndarray:
    """Return at most ``most`` values of a map, evenly spaced, flat, in float32: enough to compare maps later."""
    step = -(-values.size // most)
    return values.ravel()[::step].astype(np.float32)


def _weight_statistics(values: np.ndarray, kind: str) -> dict[str, float | None]:
    if kind == "branches":
        values = values.swapaxes(-1, -2)
    positions = values.shape[-1] if kind in ("pairs", "branches") else math.prod(values.shape[-2:])
    lines = values.reshape(-1, positions)
    if kind not in ("weights", "pairs", "branches") or not are_weights(lines, "pairs"):
        return dict.fromkeys(("entropy", "uniformity", "peak"))
    logs = np.log(lines, out=np.zeros_like(lines), where=lines > 0)
    entropy = float(-(lines * logs).sum(1).mean())
    return {
        "entropy": entropy,
        "uniformity": entropy / math.log(positions) if positions > 1 else 1.0,
        "peak": float(lines.max(1).mean()) * positions,
    }
