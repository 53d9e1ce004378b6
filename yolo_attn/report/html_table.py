"""Render the tables of a report as HTML, with the forest plots in their cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby

from yolo_attn.report.drawing import text_width
from yolo_attn.report.parts import Axis, Cell, Forest, Line, Row, Table, cells, parts
from yolo_attn.report.scale import Scale

Render = Callable[[Line], str]

_NARROWEST, _OUT, _APART = 112.0, 5.0, 3.0
"""Pixels: width of the narrowest scale, how far its labels may stand out, and the gap between two labels."""


def table_to_html(table: Table, render: Render) -> str:
    """Return a table; sorting and hiding are added by the script of the page.

    Args:
        table: The table.
        render: Returns a line of text as HTML.
    """
    head = "".join(f"<th {_head(table, k)}>{_cell(h, render)}</th>" for k, h in enumerate(table.head))
    rows = [row if isinstance(row, Row) else Row(row) for row in table.rows]
    bodies = "\n".join(_body(table, title, list(group), render) for title, group in groupby(rows, _group))
    heading = f"<h3>{escape(table.title)}</h3>\n" if table.headed else ""
    kinds = [name for name in ("stacked", "dense", "sortable") if getattr(table, name)]
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    note = f'\n<p class="note">{render(table.caption)}</p>' if table.caption else ""
    return (
        f'{heading}<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">\n'
        f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n{bodies}\n</table>\n</div>{note}"
    )


def _head(table: Table, column: int) -> str:
    order = ' aria-sort="descending"' if column == table.sorted_by else ""
    return f'scope="col"{_kind(table, column)}{order}{_of_arm(table, column)}'


def _group(row: Row) -> tuple[str, bool]:
    return row.group, row.fixed


def _body(table: Table, group: tuple[str, bool], rows: Sequence[Row], render: Render) -> str:
    title, fixed = group
    rule = f'<tr class="rule"><th colspan="{len(table.head)}" scope="rowgroup">{escape(title)}</th></tr>\n'
    lines = "\n".join(_row(table, row, render) for row in rows)
    return f"<tbody{' data-fixed' if fixed else ''}>\n{rule if title else ''}{lines}\n</tbody>"


def _row(table: Table, row: Row, render: Render) -> str:
    first, *others = cells(row)
    arm = f' data-arm="{escape(row.arm)}"' if row.arm else ""
    body = "".join(
        f"<td{_kind(table, k)}{_value(cell)}{_of_arm(table, k)}>{_cell(cell.line, render)}</td>"
        for k, cell in enumerate(others, start=1)
    )
    return f'<tr{arm}><th scope="row"{_value(first)}>{_cell(first.line, render)}</th>{body}</tr>'


def _kind(table: Table, column: int) -> str:
    return ' class="words"' if column in table.words else ""


def _of_arm(table: Table, column: int) -> str:
    return f' data-arm="{escape(table.arms[column])}"' if table.arms and table.arms[column] else ""


def _value(cell: Cell) -> str:
    return f' data-value="{cell.value:.9g}"' if cell.value is not None else ""


def _cell(line: Line, render: Render) -> str:
    """Return the text of a cell, and its part of a forest plot beside it."""
    held = parts(line)
    drawn = [part for part in held if isinstance(part, Forest | Axis)]
    text = render([part for part in held if not isinstance(part, Forest | Axis)])
    if not drawn:
        return text
    return f'<div class="beside-forest"><span>{text}</span>{"".join(map(drawing, drawn))}</div>'


def drawing(part: Forest | Axis) -> str:
    """Return a row of a forest plot, or its scale, as wide as its place is."""
    return _forest(part) if isinstance(part, Forest) else _axis(part.scale)


def _forest(row: Forest) -> str:
    on = row.scale
    shapes = [f'<line class="t-line" {_across(on, t, t)} y1="0" y2="100%"/>' for t in on.ticks]
    if on.zero is not None:
        shapes.append(f'<line class="t-muted" {_across(on, on.zero, on.zero)} y1="0" y2="100%"/>')
    if row.low is not None and row.high is not None:
        bar = f'{_across(on, row.low, row.high)} y1="50%" y2="50%"'
        shapes.append(f'<line class="t-{row.tone} bar" {bar}/>')
    shapes += [f'<circle class="t-muted seed" cx="{_percent(on, s)}" cy="82%" r="1.7"/>' for s in row.singles]
    hollow = " hollow" if row.tone == "muted" else ""
    shapes.append(f'<circle class="t-{row.tone}{hollow}" cx="{_percent(on, row.estimate)}" cy="50%" r="4.5"/>')
    return f'<svg class="forest" aria-hidden="true">{"".join(shapes)}</svg>'


def _axis(on: Scale) -> str:
    texts = "".join(
        f'<text class="t-muted" x="{_percent(on, tick)}" y="11"{_anchor(on, tick, text)}>{text}</text>'
        for tick, text in legible(on)
    )
    return f'<svg class="forest axis" aria-hidden="true">{texts}</svg>'


def legible(on: Scale) -> list[tuple[float, str]]:
    """Return the ticks whose labels have room on the narrowest scale: that of no difference, the outer ones, others."""
    labelled = list(zip(on.ticks, on.labels(), strict=True))
    outer_first = sorted(labelled, key=lambda tick: (tick[0] != on.zero, -abs(on(tick[0]) - 0.5)))
    kept: dict[float, str] = {}
    for tick, text in outer_first:
        left, right = _extent(on, tick, text)
        others = [_extent(on, *other) for other in kept.items()]
        if all(right + _APART <= start or end + _APART <= left for start, end in others):
            kept[tick] = text
    return sorted(kept.items())


def _extent(on: Scale, tick: float, text: str) -> tuple[float, float]:
    """Return where a label begins and ends, in pixels of the narrowest scale; it may stand out a little."""
    width, middle = text_width(text, 11), _NARROWEST * on(tick)
    start = min(max(middle - width / 2, -_OUT), _NARROWEST + _OUT - width)
    return start, start + width


def _anchor(on: Scale, tick: float, text: str) -> str:
    """Return the attributes of a label that would stand out too far to either side of its column."""
    width, middle = text_width(text, 11), _NARROWEST * on(tick)
    if middle - width / 2 < -_OUT:
        return f' dx="{-_OUT:g}" style="text-anchor: start"'
    return f' dx="{_OUT:g}" style="text-anchor: end"' if middle + width / 2 > _NARROWEST + _OUT else ""


def _across(on: Scale, low: float, high: float) -> str:
    return f'x1="{_percent(on, low)}" x2="{_percent(on, high)}"'


def _percent(on: Scale, value: float) -> str:
    return f"{100 * on(value):.1f}%"
