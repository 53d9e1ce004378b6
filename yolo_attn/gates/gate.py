"""Attention maps of one image as arrays of a known kind.

The kind is the one that the block declares; for users' blocks that declare none it is guessed from the shape.
Needs numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from yolo_attn.gates.statistics import GateStatistics, are_weights, guess_upper_bound, statistics_of

NAMES = {
    "channel": "channel gate",
    "rows": "row gate",
    "columns": "column gate",
    "product": "row gate x column gate",
    "spatial": "spatial gate",
    "groups": "spatial gate of each group",
    "kernels": "spatial gate of each kernel",
    "factors": "factor of every value",
    "branches": "weights of the branches",
    "weights": "pooling weights",
    "pairs": "pairwise weights",
    "full": "gate of every value",
    "cells": "gate of each cell",
    "channel half": "channel gate of one half",
    "full half": "gate of every value of the other half",
    "other": "map of an unknown shape",
}
"""Names of the kinds of maps, as users read them. ``rows`` vary along the height, ``columns`` along the width; a cell
is a part of the map."""


@dataclass(frozen=True)
class Gate:
    """One map that a block computed for one image.

    Attributes:
        kind: Key of ``NAMES``.
        values: ``(C, 1, 1)`` channel, ``(C, H, 1)`` rows, ``(C, 1, W)`` columns, ``(C, H, W)`` product and full,
            ``(1, H, W)`` spatial and weights, ``(G, H, W)`` groups, ``(C, L, L)`` cells, ``(C/2, 1, 1)`` channel half,
            ``(C/2, H, W)`` full half, ``(2, H, W)`` kernels, ``(C, H, W)`` factors, ``(K, C)`` branches,
            ``(HW, HW)`` pairs.
        size: Height and width of the block's feature map.
        top: Upper end of the range, which begins at 0; ``None`` for weights and unknown ranges.
        declared: Whether the block declares the range; else it is the smallest of (0, 1) and (0, 2) that holds all
            values.
        fresh: The map of the freshly built block for the same input; ``None`` where it cannot be built.
    """

    kind: str
    values: np.ndarray
    size: tuple[int, int]
    top: float | None
    declared: bool
    fresh: np.ndarray | None = None

    @property
    def name(self) -> str:
        """Name of the kind, as users read it."""
        return NAMES[self.kind]

    @property
    def per_channel(self) -> bool:
        """Whether it holds values per channel rather than a map of positions."""
        return self.kind in ("channel", "channel half", "branches")

    @property
    def neutral(self) -> float | None:
        """The value 1, which keeps the features, if it is inside the range; else ``None``."""
        return 1.0 if self.top is not None and self.top > 1 else None

    @cached_property
    def statistics(self) -> GateStatistics:
        """Statistics over all values, padding of the image included."""
        return statistics_of(self.values, self.top, self.kind, self.fresh)

    def grids(self, fresh: bool = False) -> np.ndarray | None:
        """Return the maps over positions or cells, ``(K, H, W)``; ``None`` for kinds that have none.

        Weights are multiples of the uniform weight. Pairwise weights give one map, the mean over all queries. Gates of
        rows and of columns are repeated along the other side.

        Args:
            fresh: Return those of the freshly built block.
        """
        values = self.fresh if fresh else self.values
        if values is None or self.per_channel or self.kind == "other":
            return None
        if self.kind in ("rows", "columns"):
            return np.broadcast_to(values, (len(values), *self.size))
        if self.kind == "pairs":
            return self._relative_weights(values, None)[None]
        return values * math.prod(self.size) if self.kind == "weights" else values

    def query_weights(self, position: tuple[int, int] | None) -> np.ndarray:
        """Return how a query position weighs every position, ``(H, W)``, in multiples of the uniform weight.

        Args:
            position: Row and column of the query; ``None`` for the mean over all queries.
        """
        return self._relative_weights(self.values, position)

    def _relative_weights(self, pairs: np.ndarray, position: tuple[int, int] | None) -> np.ndarray:
        weights: np.ndarray = pairs.mean(0) if position is None else pairs[position[0] * self.size[1] + position[1]]
        seen: np.ndarray = weights.reshape(self.size) * pairs.shape[1]
        return seen


def gates_of(
    maps: Sequence[np.ndarray],
    channels: int,
    size: tuple[int, int],
    tops: Sequence[float | None],
    fresh: Sequence[np.ndarray] | None = None,
    kinds: Sequence[str] | None = None,
) -> list[Gate]:
    """Return the gates of a block for one image, including the product of a row and a column gate.

    Args:
        maps: Maps that ``attention(x)`` returned, without the batch dimension.
        channels: Channels of the block's input.
        size: Height and width of the block's input.
        tops: Declared upper end of each map's range; ``None`` for weights and undeclared ranges.
        fresh: The same maps of the freshly built block.
        kinds: Declared kind of each map; by default guessed from its shape.
    """
    gates = []
    for k, values in enumerate(maps):
        kind = kinds[k] if kinds else guess_kind(values, channels, size, is_gate=tops[k] is not None)
        shaped = _shaped(values, kind, channels, size)
        before = fresh[k].reshape(shaped.shape) if fresh is not None else None
        top = tops[k] if tops[k] is not None or kinds else _assumed_range(kind, shaped)
        gates.append(Gate(kind, shaped, size, top, tops[k] is not None, before))
    if [gate.kind for gate in gates] == ["rows", "columns"]:
        gates.append(_product(*gates))
    return gates


def guess_kind(values: np.ndarray, channels: int, size: tuple[int, int], is_gate: bool = False) -> str:
    """Return the kind of a map by its shape.

    Args:
        values: The map of one image.
        channels: Channels of the block's input.
        size: Height and width of the block's input.
        is_gate: Whether its range is known, so that it cannot hold weights.
    """
    height, width = size
    if values.shape in ((channels,), (channels, 1, 1)):
        return "channel"
    if values.shape == (height * width, height * width):
        return "pairs"
    if values.shape in ((height, width), (1, height, width)):
        return "weights" if not is_gate and are_weights(values) else "spatial"
    if values.shape == (channels, height, 1):
        return "rows"
    if values.shape == (channels, 1, width):
        return "columns"
    if values.ndim == 3 and values.shape[1:] == size:
        return "full" if len(values) == channels else "groups"
    return "other"


def _assumed_range(kind: str, values: np.ndarray) -> float | None:
    """Return the upper end of the range that a map's values suggest; ``None`` for weights and unusual values."""
    if kind in ("weights", "pairs", "other") or not values.size or are_weights(values):
        return None
    return guess_upper_bound(values.min(), values.max())


def _shaped(values: np.ndarray, kind: str, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return a map with the dimensions that :class:`Gate` documents."""
    if kind == "channel":
        return values.reshape(channels, 1, 1)
    if kind == "channel half":
        return values.reshape(-1, 1, 1)
    return values.reshape(1, *size) if kind in ("spatial", "weights") else values


def _product(rows: Gate, columns: Gate) -> Gate:
    top = None if rows.top is None or columns.top is None else rows.top * columns.top
    fresh = None if rows.fresh is None or columns.fresh is None else rows.fresh * columns.fresh
    declared = rows.declared and columns.declared
    return Gate("product", rows.values * columns.values, rows.size, top, declared, fresh)
