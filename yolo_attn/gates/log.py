"""Log of all gates of a model during a training: ``gates.csv``, next to ``results.csv``.

The same few validation images go through the averaged weights before training and after every epoch, so that the rows
of two epochs can be compared, and a gate that never moves is found.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from yolo_attn.gates.find import Location, declared_maps
from yolo_attn.gates.gate import guess_kind
from yolo_attn.gates.statistics import GateStatistics, are_weights, guess_upper_bound, statistics_of, subsample
from yolo_attn.gates.watch import GateRecorder, maps_of
from yolo_attn.models.graph import level_of
from yolo_attn.util.files import write_whole

COLUMNS = (
    "epoch", "row", "place", "block", "path", "map", "mean", "std", "min", "max", "dead", "saturated", "distance",
)  # fmt: skip
MIN_CHANGE = 0.001
"""Smallest distance from its map before training at which a gate counts as changed."""


@dataclass(frozen=True)
class LogRow:
    """One row of ``gates.csv``: one map of one block after one epoch; epoch 0 is before training.

    Attributes:
        epoch: Number of the epoch.
        row: Number of the layer.
        place: Section and pyramid level, e.g. ``neck:P3``.
        block: YAML name of the block.
        path: Name of the block among the model's modules.
        map: Number of the map among the block's, from 1.
        mean: Mean of its values.
        std: Standard deviation of the population.
        min: Smallest value.
        max: Largest value.
        dead: Share of values below 0.05 of the range; ``None`` without a range.
        saturated: Share of values above 0.95 of the range; ``None`` without a range.
        distance: Distance from the map before training; ``None`` where it is unknown.
    """

    epoch: int
    row: int
    place: str
    block: str
    path: str
    map: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    dead: float | None
    saturated: float | None
    distance: float | None

    @classmethod
    def from_csv(cls, cells: Mapping[str, str]) -> LogRow:
        """Return the row that a line of the file holds."""
        words = {name: cells[name] for name in ("place", "block", "path")}
        counts = {name: int(cells[name]) for name in ("epoch", "row", "map")}
        numbers = {name: float(cells[name]) if cells[name] else None for name in COLUMNS[6:]}
        return cls(**words, **counts, **numbers)  # type: ignore[arg-type]

    def to_csv(self) -> str:
        """Return the row as a line of the file, numbers with six digits."""
        return ",".join(map(_cell, astuple(self)))

    @property
    def name(self) -> str:
        """Layer, block and place, as a warning names them."""
        inside = self.path.split(".", 2)[2:]
        return f"row {self.row} {self.block} ({self.place}{', ' + inside[0] if inside else ''})"


@dataclass(frozen=True)
class Measured:
    """One map of a block for the fixed images.

    Attributes:
        location: Location of the block.
        number: Number of the map among the block's, from 1.
        place: Section and pyramid level, e.g. ``neck:P3``.
        statistics: Statistics over all its values.
        values: The values, or some of them, evenly spaced.
    """

    location: Location
    number: int
    place: str
    statistics: GateStatistics
    values: np.ndarray

    @property
    def key(self) -> str:
        """Path of the block and number of the map, unique in a model."""
        return f"{self.location.path}:{self.number}"

    def row(self, epoch: int, distance: float | None) -> LogRow:
        """Return the map's row of the log.

        Args:
            epoch: Number of the epoch; 0 is before training.
            distance: Distance from the map before training.
        """
        at, s = self.location, self.statistics
        return LogRow(
            epoch, at.row, self.place, at.block, at.path, self.number, s.mean, s.std, s.min, s.max, s.dead, s.saturated,
            distance,
        )  # fmt: skip


def measure_gates(blocks: Mapping[Location, nn.Module], model: nn.Module, images: Tensor) -> list[Measured]:
    """Run a model once and measure the maps of its blocks, without changing the model.

    Args:
        blocks: Blocks by location, as :func:`yolo_attn.gates.find.attention_blocks` returns them; each has a method
            ``attention(x)``.
        model: The model, in evaluation mode.
        images: Its input, ``(N, 3, h, w)``.
    """

    def measure(location: Location, block: nn.Module, x: Tensor) -> list[Measured]:
        return _measure(location, block, x, images.shape[2])

    with torch.no_grad(), GateRecorder(blocks, measure) as recorder:
        model(images)
    return [measured for of_block in recorder.results.values() for measured in of_block]


def _measure(location: Location, block: nn.Module, x: Tensor, height: int) -> list[Measured]:
    level = level_of(height / x.shape[2])
    place = f"{location.section}:{level}" if level else location.section
    maps = [one.detach().float().cpu().numpy() for one in maps_of(block, x)]
    declared = declared_maps(block, len(maps))
    tops = declared.tops if declared else [_assumed_range(values, x) for values in maps]
    return [
        Measured(location, number, place, statistics_of(values, top), subsample(values))
        for number, (values, top) in enumerate(zip(maps, tops, strict=True), 1)
    ]


def _assumed_range(values: np.ndarray, x: Tensor) -> float | None:
    """Return the upper end of the range that a map's values suggest; ``None`` for weights of every image."""
    kind = guess_kind(values[0], x.shape[1], (x.shape[2], x.shape[3]))
    if all(are_weights(one, kind) for one in values):
        return None
    return guess_upper_bound(float(values.min()), float(values.max()))


# --- the file ---------------------------------------------------------------------------------------------------------
def read_gates(file: Path) -> list[LogRow]:
    """Return the rows of a gate log; none if there is no file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [LogRow.from_csv(cells) for cells in csv.DictReader(lines)]


def write_gates(file: Path, rows: Iterable[LogRow]) -> None:
    """Write a gate log, whole or not at all."""
    write_whole(file, "\n".join([",".join(COLUMNS), *(row.to_csv() for row in rows)]) + "\n")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)


def unchanged_gates(rows: Iterable[LogRow]) -> list[str]:
    """Return the names of the blocks whose maps all stayed within ``MIN_CHANGE`` of their first values."""
    farthest: dict[str, tuple[float, str]] = {}
    for row in rows:
        before = farthest.get(row.path, (0.0, ""))[0]
        change = math.nan if row.distance is None else row.distance
        farthest[row.path] = (max(before, change), row.name)
    return [name for change, name in farthest.values() if change < MIN_CHANGE]
