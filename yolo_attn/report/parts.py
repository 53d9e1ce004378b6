"""Elements of a report, independent of Markdown and HTML: sections, paragraphs, lists, tables and pictures.

All text is plain; the renderers escape it. A line of text is a string, or a list of strings and marked-up parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


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


Part = str | Strong | Code | Verdict | Muted
Line = str | Sequence[Part]


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    line: Line


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    lines: Sequence[Line]


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
    """

    title: str
    head: Sequence[Line]
    rows: Sequence[Sequence[Line]]
    words: frozenset[int] = frozenset({0})
    headed: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class Picture:
    """A plot.

    Attributes:
        name: Name of the plot, as in :func:`yolo_attn.report.plots.draw`.
        alternative: Description for screen readers.
        caption: Caption.
    """

    name: str
    alternative: str
    caption: Line


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
    """

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    warning: bool = False


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: Heading.
        subtitle: Size and progress of the comparison, in one line.
        sections: Sections, in order.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]


def parts(line: Line) -> list[Part]:
    """Return the parts of a line; a plain string is one part."""
    return [line] if isinstance(line, str) or not isinstance(line, Sequence) else list(line)
