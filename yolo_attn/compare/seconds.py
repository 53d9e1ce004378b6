"""Sum up where the time of runs went: start, first epoch, further epochs, validation, saving."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from yolo_attn.compare.run_folder import RESULT
from yolo_attn.report.seconds import ALL, Seconds, by_part, total


def process_seconds() -> float:
    """Return the seconds since this process was started."""
    return time.time() - psutil.Process().create_time()


def seconds_of(folder: Path) -> Seconds | None:
    """Return the seconds of a complete run by part, or ``None`` where they were not stored."""
    try:
        return seconds_in(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None


def seconds_in(result: Mapping[str, Any]) -> Seconds | None:
    """Return the seconds by part in the result of a run, or ``None`` where they are not there, or no numbers."""
    found = result.get("seconds")
    numbers = isinstance(found, dict) and ALL in found and all(isinstance(v, int | float) for v in found.values())
    return found if numbers else None


def describe(seconds: Seconds) -> str:
    """Return seconds by part in words: ``48 s: start 9, first epoch 20, ...``."""
    said = ", ".join(f"{part} {_short(value)}" for part, value in by_part(seconds).items())
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
        whole = total(self.runs)
        beside = whole[ALL] / self._runs_took
        count = f"{len(self.runs)} {'run' if len(self.runs) == 1 else 'runs'}"
        took = f"{count} in {_short(self._runs_took)} s, {beside:.1f} at a time"
        return f"time: {took}, with {describe(whole)}; timing {_short(self._timing)} s"


def _short(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
