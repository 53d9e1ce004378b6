"""Write and read raw times: ``speed.jsonl`` in the folder of a speed measurement. Needs no torch.

The file holds a header line, per batch size and precision a line ``measurement`` and a line per round, a line per
setting that was left out, one with the seconds that all took (old files have none), and a closing line; without the
closing line it is incomplete and counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.report.results import LeftOut
from yolo_attn.speed.spec import SpeedSpec
from yolo_attn.util import jsonl, typed_json

RAW = "speed.jsonl"


@dataclass(frozen=True, kw_only=True)
class Header:
    """First line: the spec, the memory format of the models, hardware and versions."""

    spec: SpeedSpec
    memory_format: str
    environment: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Start of the rounds at one batch size and precision, with the peak memory of each arm in MB."""

    batch: int
    precision: str
    peak_memory_mb: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Round:
    """Times of one round, in milliseconds per forward pass, by arm in the order they were taken."""

    batch: int
    precision: str
    round: int
    milliseconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds that the measurement took, from opening the models."""

    seconds: float


Line = Header | Start | Round | LeftOut | Took
_KINDS: dict[type[Start | Round | LeftOut | Took], str] = {
    Start: "measurement",
    Round: "round",
    LeftOut: "left out",
    Took: "took",
}


@dataclass(frozen=True)
class RawSpeed:
    """All lines of a complete speed measurement, by kind."""

    header: Header
    starts: Sequence[Start]
    rounds: Sequence[Round]
    left_out: Sequence[LeftOut]
    seconds: float | None = None

    @classmethod
    def of(cls, lines: Iterable[Line]) -> RawSpeed:
        """Sort lines by kind; the first is the header."""
        header, *others = lines
        if not isinstance(header, Header):
            raise YoloAttnError("the first line is not a header")
        starts = [line for line in others if isinstance(line, Start)]
        rounds = [line for line in others if isinstance(line, Round)]
        took = next((line.seconds for line in others if isinstance(line, Took)), None)
        return cls(header, starts, rounds, [line for line in others if isinstance(line, LeftOut)], took)

    def has_all_times(self) -> bool:
        """Tell whether every arm, the baseline among them, was timed in every round."""
        try:
            times = [self.times(start) for start in self.starts]
        except KeyError:
            return False
        return all(self.header.spec.baseline in series and all(map(len, series.values())) for series in times)

    def times(self, start: Start) -> dict[str, np.ndarray]:
        """Return the milliseconds of each arm at one batch size and precision, by round. Shape ``(rounds,)`` each."""
        rounds = [r.milliseconds for r in self.rounds if (r.batch, r.precision) == (start.batch, start.precision)]
        return {arm: np.array([times[arm] for times in rounds]) for arm in start.peak_memory_mb}


def write_raw(folder: Path, lines: Iterable[Line]) -> None:
    """Write lines as they come; an earlier measurement in the folder is overwritten."""
    jsonl.write_complete(folder / RAW, map(_to_json, lines))


def read_raw(folder: Path, key: str) -> RawSpeed | None:
    """Read a complete measurement; ``None`` if it is missing, incomplete, damaged or of another spec.

    Args:
        folder: Folder of the measurement.
        key: Key of its spec.
    """
    try:
        records = jsonl.read_complete(folder / RAW)
        found = RawSpeed.of(map(_from_json, records)) if records else None
        return found if found and found.header.spec.key == key and found.has_all_times() else None
    except (TypeError, KeyError, YoloAttnError):
        return None


def _to_json(line: Line) -> jsonl.Record:
    kind = "header" if isinstance(line, Header) else _KINDS[type(line)]
    return {"kind": kind, **typed_json.to_json(line)}


def _from_json(record: jsonl.Record) -> Line:
    if record.get("kind") == "header":
        spec = SpeedSpec(**record["spec"])
        return Header(spec=spec, memory_format=record["memory_format"], environment=record["environment"])
    for line, kind in _KINDS.items():
        if record.get("kind") == kind:
            return typed_json.from_json(line, record)
    raise YoloAttnError(f"unknown kind of line {record.get('kind')!r}")
