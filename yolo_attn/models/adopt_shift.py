"""Correct the ``from`` of rows that was not counted up when attention rows were inserted into a stock model.

The stock model of the same joins and head says which rows a row is to read. A ``from`` is corrected where it has the
number that the row has in the stock model, or one between that and the right one: not counted up, or not for every
inserted row. Any other number was chosen for a reason that cannot be known, and stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from yolo_attn.host.model import means_block
from yolo_attn.host.wiring import Rewired, rewired_rows, unread_rows
from yolo_attn.models.graph import IMAGE, Row, rows_of, sources_of
from yolo_attn.util.lists import as_list


@dataclass
class Shifted:
    """A model dict with corrected sources.

    Attributes:
        model: The model dict.
        was: The ``from`` that a corrected row had, by row.
        left: Why a row that probably reads a wrong one was left alone, by row.
        passed: What a row says that reads a row beside the attention behind it, where other rows were corrected.
    """

    model: dict[str, Any]
    was: dict[int, Any] = field(default_factory=dict)
    left: dict[int, str] = field(default_factory=dict)
    passed: dict[int, str] = field(default_factory=dict)


def shift(model: Mapping[str, Any]) -> Shifted:
    """Correct the sources of rows as in the stock model, and have attention that nobody reads be read.

    Args:
        model: A model dict whose rows were checked; missing classes have a stand-in.
    """
    made = Shifted(deepcopy(dict(model)))
    for row in rewired_rows(model):
        if (source := _corrected(row, rows_of(model))) is None:
            made.left[row.row] = f"{row} It is left alone: nothing tells that its numbers were not counted up"
        else:
            made.was[row.row] = _replace_source(made.model, row.row, source)
    while lost := next((r for r in unread_rows(made.model) if r.attention and r.row not in made.left), None):
        if lost.reader is None:
            made.left[lost.row] = f"{lost}. It is left alone: no later row reads what it reads"
        else:
            was = _replace_source(made.model, lost.reader, lost.meant)
            made.was.setdefault(lost.reader, was)
    made.passed = _passing_by(rows_of(made.model)) if made.was else {}
    return made


def _passing_by(rows: Sequence[Row]) -> dict[int, str]:
    """Return a remark on each row that reads what attention before it gates, but not that attention."""
    sources = [sources_of(i, row) for i, row in enumerate(rows)]
    gated = {sources[i][0]: i for i, row in enumerate(rows) if means_block(row[2])}
    return {
        i: f"reads row {s}, not row {gated[s]}, {rows[gated[s]][2]} behind it; it may be meant, and is left alone"
        for i, row in enumerate(rows)
        for s in sources[i]
        if s in gated and gated[s] < i and not means_block(row[2])
    }


def _corrected(row: Rewired, rows: Sequence[Row]) -> Any:
    """Return the ``from`` of a row that reads what it reads in the stock model, ``None`` where that cannot be told."""
    given, index = rows[row.row][0], row.row
    counted = _number_in_base(rows, index)
    sources = []
    for f, reads, right in zip(as_list(given), sources_of(index, rows[index]), row.there, strict=False):
        in_stock = _number_in_base(rows, _origin(rows, right))
        written = f if f >= 0 else counted + f
        if reads == right:
            sources.append(f)
        elif in_stock <= written <= right:
            sources.append(right)
        else:
            return None
    if len(sources) != len(row.there):
        return None
    return sources if isinstance(given, (list, tuple)) else sources[0]


def _origin(rows: Sequence[Row], index: int) -> int:
    """Return the row that is gated by the attention row of a number; any other row is its own."""
    while index != IMAGE and means_block(rows[index][2]):
        (index,) = sources_of(index, rows[index])
    return index


def _number_in_base(rows: Sequence[Row], index: int) -> int:
    """Return the number that a row has without the attention rows before it."""
    return index - sum(means_block(row[2]) for row in rows[: max(index, 0)])


def _replace_source(model: dict[str, Any], index: int, source: Any) -> Any:
    """Put another ``from`` into a row; return the one it had."""
    split = len(model["backbone"])
    row = model["backbone"][index] if index < split else model["head"][index - split]
    was, row[0] = row[0], source
    return was
