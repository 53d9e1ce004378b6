"""Forest plots: estimates with their intervals, one row each, on one scale for each column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yolo_attn.evaluate.differences import ClassDifference, Difference
from yolo_attn.report.drawing import Dot, Drawing, Item, Shape, Stroke, Text, text_width
from yolo_attn.report.parts import Forest
from yolo_attn.report.results import Timing
from yolo_attn.report.scale import Scale, scale

_ROW, _TOP, _BOTTOM, _GAP = 22.0, 24.0, 24.0, 16.0


def differences_scale(found: Iterable[Difference], ticks: int = 4) -> Scale:
    """Return a scale that holds differences with their intervals and seeds."""
    return scale([v for d in found for v in (d.estimate, d.low, d.high, *d.by_seed)], zero=0.0, ticks=ticks)


def times_scale(timed: Iterable[Timing]) -> Scale:
    """Return a scale that holds time ratios with their intervals."""
    return scale([v for t in timed for v in (t.ratio, t.ratio_low, t.ratio_high)], zero=1.0, ticks=4)


def of_difference(found: Difference, on: Scale) -> Forest:
    """Return a difference as a row of a forest plot, with its seeds."""
    tone = found.verdict if found.verdict in ("better", "worse") else "muted"
    return Forest(on, found.estimate, found.low, found.high, tone, found.by_seed)


def of_class(found: ClassDifference, on: Scale) -> Forest:
    """Return the difference of a class as a row of a forest plot, coloured where its interval does not hold 0."""
    tone = "better" if (found.low or 0.0) > 0 else "worse" if (found.high or 0.0) < 0 else "muted"
    return Forest(on, found.estimate, found.low, found.high, tone)


def of_timing(timed: Timing, on: Scale) -> Forest:
    """Return a time ratio as a row of a forest plot."""
    tone = {"slower": "worse", "faster": "better"}.get(timed.verdict or "", "muted")
    return Forest(on, timed.ratio, timed.ratio_low, timed.ratio_high, tone)


@dataclass(frozen=True)
class Column:
    """A column of a forest plot: a row for each name, ``None`` where there is nothing, and text beside each."""

    title: str
    rows: Sequence[Forest | None]
    texts: Sequence[str] = ()


def forest_plot(
    names: Sequence[str], columns: Sequence[Column], controls: int = 0, width: float = 260.0, title: bool = True
) -> Drawing:
    """Draw a forest plot.

    Args:
        names: Name of each row.
        columns: Columns, each on its own scale.
        controls: Number of the last rows that stand below a rule.
        width: Width of a column, in pixels.
        title: Whether the titles of the columns are written.
    """
    top = _TOP if title else 6.0
    rule = len(names) - controls
    places = [top + _ROW * (k + 0.5 + (0.4 if controls and k >= rule else 0)) for k in range(len(names))]
    end = top + _ROW * (len(names) + (0.4 if controls else 0))
    left = 12 + max(map(text_width, names), default=0)
    items: list[Item] = [Text(8, y + 4, name) for name, y in zip(names, places, strict=True)]
    for column in columns:
        items += _column(column, places, left, width, end, title)
        left += width + _GAP + 0.9 * max(map(text_width, column.texts), default=0)
    if controls and rule:
        y = top + _ROW * (rule + 0.2)
        items.append(Stroke([(8, y), (left - _GAP, y)], "muted"))
    return Drawing(left, end + _BOTTOM, items)


def _column(column: Column, places: Sequence[float], left: float, width: float, end: float, title: bool) -> list[Item]:
    on = next((row.scale for row in column.rows if row), None)
    if on is None:
        return []
    top = _TOP if title else 6.0
    items: list[Item] = [Text(left, 14, column.title, bold=True)] if title else []
    items += [Stroke([(left + width * on(t), top), (left + width * on(t), end)], "line") for t in on.ticks]
    if on.zero is not None:
        items.append(Stroke([(left + width * on(on.zero), top), (left + width * on(on.zero), end)], "muted", 1.3))
    for tick, label in zip(on.ticks, on.labels(), strict=True):
        items.append(Text(left + width * on(tick), end + 15, label, "muted", "middle", 11))
    for row, y in zip(column.rows, places, strict=True):
        if row:
            items += _row(row, left, width, y)
    texts = zip(column.texts, places, strict=True) if column.texts else ()
    return [*items, *(Text(left + width + 10, y + 4, text) for text, y in texts)]


def _row(row: Forest, left: float, width: float, y: float) -> list[Shape]:
    shapes: list[Shape] = [Dot(left + width * row.scale(s), y + 7, "muted", radius=1.6) for s in row.singles]
    if row.low is not None and row.high is not None:
        ends = [(left + width * row.scale(v), y) for v in (row.low, row.high)]
        shapes.append(Stroke(ends, row.tone, 2.5 if row.tone != "muted" else 1.8))
    return [*shapes, Dot(left + width * row.scale(row.estimate), y, row.tone, filled=row.tone != "muted")]
