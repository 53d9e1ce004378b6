"""The table of where the time of the runs went, by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolo_attn.report.formatting import number, plural
from yolo_attn.report.parts import Block, Cell, Line, Row, Table
from yolo_attn.report.results import Results

PARTS = ("start", "first epoch", "epochs", "validation", "saving")
"""Parts of a run: until the first epoch begins; training of the first epoch of each attempt; that of all others;
validation; checkpoints and states. What remains of ``in all`` is the logs, transfer of results, and the end."""

ALL, EARLIER = "in all", "earlier attempts"
OTHER = "other"
Seconds = Mapping[str, float]


def by_part(seconds: Seconds) -> dict[str, float]:
    """Return the seconds of each part, and of what remains as ``other``."""
    parts = {part: seconds.get(part, 0.0) for part in PARTS}
    return {**parts, OTHER: max(seconds[ALL] - sum(parts.values()), 0.0)}


def total(runs: Sequence[Seconds]) -> dict[str, float]:
    """Return the sum over runs, by part and ``in all``."""
    return {part: sum(run.get(part, 0.0) for run in runs) for part in (*PARTS, ALL)}


def seconds_blocks(results: Results) -> list[Block]:
    """Return the table of the runs' seconds, with their sum and that of timing the models; nothing if none is known."""
    known = [run for run in results.runs.folders if run.seconds and ALL in run.seconds]
    if not known:
        return []
    rows = [Row([run.arm, str(run.seed), *_cells(run.seconds or {})], run.arm) for run in known]
    whole = total([run.seconds or {} for run in known])
    rows.append(Row([plural(len(known), "run"), "", *_cells(whole)], group="In all"))
    timing = results.speed.seconds if results.speed else None
    if timing is not None:
        rows.append(Row(["timing of the models", "", _cell(timing), *[""] * (len(PARTS) + 1)], group="In all"))
    head = ["model", "seed", ALL, *PARTS, OTHER]
    title = "Where the time went, in seconds"
    return [Table(title, head, rows, frozenset({0}), headed=True, sortable=True, caption=_caption(results, len(known)))]


def _caption(results: Results, known: int) -> str:
    complete = results.runs.complete
    without = f" It was not stored for {complete - known} of {complete} runs." if known < complete else ""
    return (
        "Seconds of each run's process, of all its attempts; runs beside each other each count in full. First epoch: "
        f"of each attempt. Other: logs, transfer of results, and what a stopped attempt had not stored.{without}"
    )


def _cells(seconds: Seconds) -> list[Line | Cell]:
    parts = by_part(seconds)
    return [_cell(seconds[ALL]), *(_cell(parts[part]) for part in (*PARTS, OTHER))]


def _cell(seconds: float) -> Cell:
    return Cell(number(seconds, 1) if seconds < 99.95 else f"{seconds:,.0f}", seconds)
