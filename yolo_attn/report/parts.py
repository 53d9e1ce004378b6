"""Elements of a report, independent of Markdown and HTML: sections, paragraphs, lists, tables and pictures.

All text is plain; the renderers escape it. A line of text is a string, or a list of strings and marked-up parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from yolo_attn.report.drawing import Drawing
from yolo_attn.report.scale import Scale


@dataclass(frozen=True)
class Strong:
    """Bold text."""

    text: str


@dataclass(frozen=True)
class Code:
    """Literal text, such as a setting or a checksum."""

    text: str


@dataclass(frozen=True)
class Verdict:
    """``better``, ``worse`` or ``not significant``."""

    word: str


@dataclass(frozen=True)
class Muted:
    """De-emphasized text."""

    text: str


@dataclass(frozen=True)
class Link:
    """A link to a file beside the report."""

    text: str
    target: str


@dataclass(frozen=True)
class Forest:
    """One row of a forest plot: an estimate with its interval; nothing in Markdown.

    Attributes:
        scale: The scale, common to the rows of a column.
        estimate: The point.
        low: Lower bound of the interval, or ``None``.
        high: Upper bound, or ``None``.
        tone: ``better``, ``worse`` or ``muted``; a point that is neither better nor worse is hollow.
        singles: Single values, drawn small.
    """

    scale: Scale
    estimate: float
    low: float | None
    high: float | None
    tone: str = "muted"
    singles: Sequence[float] = ()


@dataclass(frozen=True)
class Axis:
    """The scale of a column of :class:`Forest`, with its ticks; nothing in Markdown."""

    scale: Scale


Part = str | Strong | Code | Verdict | Muted | Link | Forest | Axis
Line = str | Sequence[Part]


@dataclass(frozen=True)
class Cell:
    """A cell of a table with the number that its column is sorted by; cells without one come last."""

    line: Line
    value: float | None = None


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    line: Line


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    lines: Sequence[Line]


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: The cells.
        arm: Name of the model that the row is of, with which it is hidden; empty if of none.
        group: Title of the rows below a rule that it belongs to; empty for the first rows.
        fixed: Whether it stays on top when the table is sorted.
    """

    cells: Sequence[Line | Cell]
    arm: str = ""
    group: str = ""
    fixed: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows, the other columns hold numbers unless they are in ``words``.

    Attributes:
        title: Description for screen readers, and heading if ``headed``.
        head: Column headings.
        rows: Rows of cells.
        words: Indices of columns that hold text.
        headed: Whether the title is printed.
        stacked: Whether muted text is put below the rest of its cell, for tables with many columns.
        dense: Whether forest plots are put below the rest of their cells, too.
        sortable: Whether a reader can sort it by a column.
        sorted_by: The column that it is sorted by, from the highest to the lowest.
        caption: Text under the table.
        arms: Name of the model that each column is of, with which it is hidden, empty if of none; or nothing.
    """

    title: str
    head: Sequence[Line]
    rows: Sequence[Sequence[Line | Cell] | Row]
    words: frozenset[int] = frozenset({0})
    headed: bool = False
    stacked: bool = False
    dense: bool = False
    sortable: bool = False
    sorted_by: int | None = None
    caption: Line = ""
    arms: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A plot, in HTML drawn in the page, in Markdown shown as the file of that name.

    Attributes:
        name: Name of the plot, as in :func:`yolo_attn.report.plots.draw`.
        alternative: Description for screen readers.
        caption: Caption.
        panels: The plot in HTML: one drawing, or several side by side that wrap on a narrow screen.
        narrow: What a narrow screen shows instead of the panels.
    """

    name: str
    alternative: str
    caption: Line
    panels: Sequence[Panel] = ()
    narrow: Drawing | None = None


@dataclass(frozen=True)
class Panel:
    """A drawing with the name of the model that it is of, empty if of none."""

    drawing: Drawing
    arm: str = ""


@dataclass(frozen=True)
class Heading:
    """Heading of a part of a section; its text may be empty."""

    text: str


@dataclass(frozen=True)
class Image:
    """A picture held as the bytes of a PNG file.

    Attributes:
        name: Path of its file, relative to the report.
        png: Content of the file.
        caption: Description under the picture.
    """

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Images in a grid, or one grid per column side by side."""

    columns: Sequence[Sequence[Image]]


@dataclass(frozen=True)
class Fold:
    """Collapsible blocks."""

    title: str
    blocks: Sequence[Block]


Block = Paragraph | Bullets | Table | Picture | Heading | Gallery | Fold


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        key: Anchor.
        title: Heading.
        blocks: Content.
        warning: Whether it is highlighted as a warning.
        folded: Whether a reader has to open it.
    """

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    warning: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: Heading.
        subtitle: Size and progress of the comparison, in one line.
        sections: Sections, in order.
        contents: Whether a list of the sections stands first.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    contents: bool = False


def cells(row: Sequence[Line | Cell] | Row) -> list[Cell]:
    """Return the cells of a row; one without a number has the value ``None``."""
    held = row.cells if isinstance(row, Row) else row
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in held]


def parts(line: Line) -> list[Part]:
    """Return the parts of a line; a plain string is one part."""
    return [line] if isinstance(line, str) or not isinstance(line, Sequence) else list(line)
