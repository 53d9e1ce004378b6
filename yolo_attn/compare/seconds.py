"""Sum up where the time of runs went: start, first epoch, further epochs, validation, saving."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from yolo_attn.compare.run_folder import RESULT

PARTS = ("start", "first epoch", "epochs", "validation", "saving")
"""Parts of a run: until the first epoch begins; training of the first epoch of each attempt; that of all others;
validation; checkpoints and states. What remains of ``in all`` is the logs, transfer of results, and the end."""
ALL, EARLIER = "in all", "earlier attempts"
Seconds = Mapping[str, float]


def process_seconds() -> float:
    """Return the seconds since this process was started."""
    return time.time() - psutil.Process().create_time()


def seconds_of(folder: Path) -> Seconds | None:
    """Return the seconds of a complete run by part, or ``None`` where they were not stored."""
    try:
        found = json.loads((folder / RESULT).read_text(encoding="utf-8")).get("seconds")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, dict) and ALL in found else None


def describe(seconds: Seconds) -> str:
    """Return seconds by part in words: ``48 s: start 9, first epoch 20, ...``."""
    parts = [(part, seconds.get(part, 0.0)) for part in PARTS]
    parts.append(("other", max(seconds[ALL] - sum(value for _, value in parts), 0.0)))
    said = ", ".join(f"{part} {_short(value)}" for part, value in parts)
    return f"{_short(seconds[ALL])} s: {said}"


class Spent:
    """Time that a command spends on its runs and on timing the models, from when this is made.

    Attributes:
        runs: Seconds by part of each complete run.
    """

    def __init__(self) -> None:
        self.runs: list[Seconds] = []
        self._began, self._runs_took, self._timing = time.perf_counter(), 0.0, 0.0

    def ended(self, folder: Path) -> None:
        """Note that a run has ended."""
        self._runs_took = time.perf_counter() - self._began
        if seconds := seconds_of(folder):
            self.runs.append(seconds)

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """Note the time of a block, in which models are timed."""
        began = time.perf_counter()
        yield
        self._timing = time.perf_counter() - began

    def line(self) -> str:
        """Return where the time went, in one line."""
        total = {part: sum(run.get(part, 0.0) for run in self.runs) for part in (*PARTS, ALL)}
        beside = total[ALL] / self._runs_took
        count = f"{len(self.runs)} {'run' if len(self.runs) == 1 else 'runs'}"
        took = f"{count} in {_short(self._runs_took)} s, {beside:.1f} at a time"
        return f"time: {took}, with {describe(total)}; timing {_short(self._timing)} s"


def _short(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
