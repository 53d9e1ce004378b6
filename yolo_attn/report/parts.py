"""What a report is made of, before it is Markdown or HTML: sections of paragraphs, lists, tables and pictures.

Every text is plain: the renderers escape it. A line of text is a string, or a list of strings and marked parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Strong:
    """Text that stands out."""

    text: str


@dataclass(frozen=True)
class Code:
    """Text to be taken literally: a setting, a checksum."""

    text: str


@dataclass(frozen=True)
class Verdict:
    """``better``, ``worse`` or ``not significant``."""

    word: str


@dataclass(frozen=True)
class Muted:
    """Text of less weight."""

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
    """A table; the first column names the rows, the others hold numbers unless they are in ``words``.

    Attributes:
        title: What is in it, for those who cannot see it, and its heading where ``headed``.
        head: Headings of the columns.
        rows: Rows of cells.
        words: Columns (by index, from 0) that hold words.
        headed: Whether the title is printed.
        stacked: Whether text of less weight stands under the rest of its cell, for tables of many columns.
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
        name: Name of the plot, as in ``plots.draw``.
        alternative: What it shows, for those who cannot see it.
        caption: How to read it.
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
    """Blocks that are shown on demand."""

    title: str
    blocks: Sequence[Block]


Block = Paragraph | Bullets | Table | Picture | Heading | Gallery | Fold


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading of its own.

    Attributes:
        key: Its anchor.
        title: Its heading.
        blocks: What is in it.
        warning: Whether nobody may miss it.
    """

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    warning: bool = False


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: Its heading.
        subtitle: What was compared, in one line.
        sections: Its parts, in order.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]


def parts(line: Line) -> list[Part]:
    """Return a line's parts; a plain string is one."""
    return [line] if isinstance(line, str) or not isinstance(line, Sequence) else list(line)
