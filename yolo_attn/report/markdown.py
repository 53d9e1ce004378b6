"""Render the report as GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import quote

from yolo_attn.report.formatting import ARROWS
from yolo_attn.report.parts import (
    Axis,
    Block,
    Bullets,
    Code,
    Fold,
    Forest,
    Gallery,
    Heading,
    Line,
    Link,
    Paragraph,
    Part,
    Picture,
    Row,
    Section,
    Strong,
    Table,
    Verdict,
    cells,
    parts,
)
from yolo_attn.report.results import Results
from yolo_attn.report.sections import build

_MARKUP = re.compile(r"[\\`*|$~]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(")
_LINE_START = re.compile(r"^([-+#=]|\d+(?=[.)]))")


BRIEF = ("answer", "caveats", "results")
"""Sections that the command line prints."""


def to_markdown(
    results: Results,
    plots: Collection[str] = (),
    sections: Collection[str] | None = None,
    files: Iterable[str] = (),
) -> str:
    """Return the report of a comparison.

    Args:
        results: Results of a comparison.
        plots: Names of plots in ``plots/`` beside the report; only these are shown.
        sections: Keys of the sections to return, e.g. ``BRIEF``; all by default.
        files: Existing files of the runs, relative to the report, which are linked.
    """
    report = build(results, files)
    texts = [f"# {_escape(report.title)}", _escape(report.subtitle)]
    for section in report.sections:
        if sections is None or section.key in sections:
            texts += _section(section, plots)
    return "\n\n".join(filter(None, texts)) + "\n"


def _section(section: Section, plots: Collection[str]) -> list[str]:
    texts = [text for block in section.blocks for text in _block(block, plots)]
    if section.folded:
        return ["<details>", f"<summary>{_escape(section.title)}</summary>", *texts, "</details>"]
    heading = f"## {_escape(section.title)}"
    if not section.warning:
        return [heading, *texts]
    quoted = ["> " + line if line else ">" for line in "\n\n".join(texts).splitlines()]
    return [heading, "\n".join(["> [!WARNING]", *quoted])]


def _block(block: Block, plots: Collection[str]) -> list[str]:
    if isinstance(block, Paragraph):
        return [_LINE_START.sub(_escaped_start, _line(block.line))]
    if isinstance(block, Bullets):
        return ["\n".join(f"- {_LINE_START.sub(_escaped_start, _line(line))}" for line in block.lines)]
    if isinstance(block, Table):
        heading = [f"### {_escape(block.title)}"] if block.headed else []
        return [*heading, _table(block), *([_line(block.caption)] if block.caption else [])]
    if isinstance(block, Fold):
        inside = [text for inner in block.blocks for text in _block(inner, plots)]
        return ["<details>", f"<summary>{_escape(block.title)}</summary>", *inside, "</details>"]
    if isinstance(block, Heading):
        return [f"### {_escape(block.text)}"] if block.text else []
    if isinstance(block, Gallery):
        images = [image for column in block.columns for image in column]
        return [f"![{_escape(image.caption)}]({image.name})\n\n{_escape(image.caption)}" for image in images]
    return _picture(block, plots)


def _picture(picture: Picture, plots: Collection[str]) -> list[str]:
    if picture.name not in plots:
        return []
    return [f"![{_escape(picture.alternative)}](plots/{picture.name}.png)", _line(picture.caption)]


def _table(table: Table) -> str:
    """Return a table; rows below a rule come after a row with their title."""
    rule = ["---" if k in table.words else "--:" for k in range(len(table.head))]
    rows, group = [[_line(cell) for cell in table.head], rule], ""
    for row in table.rows:
        if isinstance(row, Row) and row.group != group:
            group = row.group
            rows.append([f"*{_escape(group)}*", *[""] * (len(table.head) - 1)])
        rows.append([_line(cell.line) for cell in cells(row)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _line(line: Line) -> str:
    return "".join(map(_part, parts(line)))


def _part(part: Part) -> str:
    if isinstance(part, str):
        return _escape(part)
    if isinstance(part, Verdict):
        return f"**{ARROWS.get(part.word, part.word)}**" if part.word in ("better", "worse") else _escape(part.word)
    if isinstance(part, Forest | Axis):
        return ""
    if isinstance(part, Link):
        return f"[{_escape(part.text)}]({quote(part.target)})"
    if isinstance(part, Strong):
        bare = part.text.strip()
        return part.text.replace(bare, f"**{_escape(bare)}**", 1) if bare else part.text
    if isinstance(part, Code) and "`" not in part.text:
        return "`" + _one_line(part.text).replace("|", "\\|") + "`"
    return _escape(part.text)


def _escaped_start(match: re.Match[str]) -> str:
    start = match[1]
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def _escape(text: str) -> str:
    text = _one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKUP.sub(lambda found: "\\" + found[0], text)


def _one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", str(text))
