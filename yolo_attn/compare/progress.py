"""Show the progress of a comparison: one line that is redrawn on a terminal, log lines elsewhere."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from yolo_attn.compare.executors import progress_of
from yolo_attn.compare.seconds import describe, seconds_of

_LINE_SECONDS, _DRAW_SECONDS = 60.0, 1.0


class Progress:
    """Count done, failed, running and remaining runs, and estimate the remaining time.

    Args:
        total: Number of runs of the comparison.
        done: Number of runs that were complete at the start.
        slots: Number of parallel runs.
        log: Called with a line when a run ends and, without a terminal, once a minute.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        total: int,
        done: int,
        slots: int,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.done, self.failed, self.slots = total, done, 0, max(slots, 1)
        self.log, self.clock = log, clock
        self.began: dict[Path, float] = {}
        self.seconds: list[float] = []
        self.live = sys.stderr.isatty()
        self._last = clock()

    def ended(self, folder: Path, reason: str | None) -> None:
        """Count the end of a run and log it."""
        if reason is None:
            self.done += 1
            self.seconds.append(self.clock() - self.began.get(folder, self.clock()))
        else:
            self.failed += 1
        self.began.pop(folder, None)
        self._clear()
        spent = seconds_of(folder)
        went = f" ({describe(spent)})" if spent else ""
        self.log(f"done: {_name(folder)}{went}" if reason is None else f"failed: {_name(folder)}: {reason}")
        self.log(self.line([]))

    def tick(self, running: Sequence[Path]) -> None:
        """Show the progress, at most once per second on a terminal and once per minute elsewhere."""
        for folder in running:
            self.began.setdefault(folder, self.clock())
        if self.clock() - self._last < (_DRAW_SECONDS if self.live else _LINE_SECONDS):
            return
        self._last = self.clock()
        if self.live:
            print(f"\r\x1b[2K{self.line(running)[:160]}", end="", file=sys.stderr, flush=True)
        else:
            self.log(self.line(running))

    def line(self, running: Sequence[Path]) -> str:
        """Return the progress in one line."""
        left = self.total - self.done - self.failed - len(running)
        parts = [f"{self.done} of {self.total} runs done"]
        parts += [f"{self.failed} failed"] * bool(self.failed)
        parts += [f"running {', '.join(map(_name_and_epoch, running))}"] * bool(running)
        parts += [f"{left} left"] * bool(left)
        if (seconds := self.seconds_left(running)) is not None:
            parts.append(f"about {_duration(seconds)} to go")
        return "; ".join(parts)

    def seconds_left(self, running: Sequence[Path]) -> float | None:
        """Estimate the remaining time, in seconds, from the runs so far; ``None`` before the first epoch."""
        one = statistics.fmean(self.seconds) if self.seconds else _seconds_per_run(running)
        if one is None:
            return None
        passed = sum(min(self.clock() - self.began.get(folder, self.clock()), one) for folder in running)
        return max((self.total - self.done - self.failed) * one - passed, 0) / self.slots

    def close(self) -> None:
        """Clear the line on the terminal."""
        self._clear()

    def _clear(self) -> None:
        if self.live:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def _name(folder: Path) -> str:
    return folder.name.rpartition("-")[0]


def _name_and_epoch(folder: Path) -> str:
    at = progress_of(folder)
    if not {"epoch", "epochs"} <= at.keys():
        return _name(folder)
    return f"{_name(folder)} (epoch {min(at['epoch'] + 1, at['epochs'])}/{at['epochs']})"


def _seconds_per_run(running: Sequence[Path]) -> float | None:
    known = [at for folder in running if (at := progress_of(folder)).get("epoch_seconds") and at.get("epochs")]
    return statistics.fmean(statistics.fmean(a["epoch_seconds"]) * a["epochs"] for a in known) if known else None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
