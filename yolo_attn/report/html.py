"""Render the report as one self-contained HTML file, without network, scripts or other files."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from yolo_attn.report import plots
from yolo_attn.report.document import STYLE, document
from yolo_attn.report.formatting import ARROWS
from yolo_attn.report.parts import (
    Block,
    Bullets,
    Code,
    Fold,
    Gallery,
    Heading,
    Image,
    Line,
    Muted,
    Paragraph,
    Part,
    Picture,
    Report,
    Section,
    Strong,
    Table,
    Verdict,
    parts,
)
from yolo_attn.report.results import Results
from yolo_attn.report.sections import build

_TOGETHER = re.compile(r"\[[−+\d., ]+\](?: %)?|\d %|p [=<] [\d.]+|± ")
_TAGS = {Strong: "strong", Code: "code", Muted: "small"}


def to_html(results: Results, svgs: Mapping[str, str] | None = None) -> str:
    """Return the report of a comparison; equal results give equal bytes.

    Args:
        results: Results of a comparison.
        svgs: Plots by name, as SVG; drawn if not given.
    """
    report = build(results)
    if svgs is None:
        svgs = {name: plots.to_svg(figure, name) for name, figure in plots.draw(results).items()}
    return page(report, svgs)


def page(report: Report, svgs: Mapping[str, str] | None = None, styles: Iterable[Path] = (STYLE,)) -> str:
    """Return a report as a whole HTML file.

    Args:
        report: The report.
        svgs: Its plots by name, as SVG; a picture whose plot is missing is left out.
        styles: Style sheets that go into the file.
    """
    body = [
        f"<header>\n<h1>{escape(report.title)}</h1>\n<p>{escape(report.subtitle)}</p>\n{_contents(report)}\n</header>",
        "<main>",
        *(_section(section, svgs or {}) for section in report.sections),
        "</main>",
    ]
    return document(report.title, body, styles)


def _contents(report: Report) -> str:
    links = "\n".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in report.sections)
    return f'<nav aria-label="Contents">\n<ul>\n{links}\n</ul>\n</nav>'


def _section(section: Section, svgs: Mapping[str, str]) -> str:
    kind = ' class="warning"' if section.warning else ""
    body = "\n".join(filter(None, (_block(block, svgs) for block in section.blocks)))
    heading = f'<h2 id="{section.key}">{escape(section.title)}</h2>'
    return f'<section aria-labelledby="{section.key}"{kind}>\n{heading}\n{body}\n</section>'


def _block(block: Block, svgs: Mapping[str, str]) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{_line(block.line)}</p>"
    if isinstance(block, Bullets):
        return "<ul>\n" + "\n".join(f"<li>{_line(line)}</li>" for line in block.lines) + "\n</ul>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Fold):
        inside = "\n".join(_block(inner, svgs) for inner in block.blocks)
        return f"<details>\n<summary>{escape(block.title)}</summary>\n{inside}\n</details>"
    if isinstance(block, Heading):
        return f"<h3>{escape(block.text)}</h3>" if block.text else ""
    if isinstance(block, Gallery):
        return _gallery(block)
    return _picture(block, svgs)


def _gallery(gallery: Gallery) -> str:
    columns = "\n".join(
        '<div class="panels">\n' + "\n".join(map(_image, column)) + "\n</div>" for column in gallery.columns
    )
    return f'<div class="beside">\n{columns}\n</div>' if len(gallery.columns) > 1 else columns


def _image(image: Image) -> str:
    data = base64.b64encode(image.png).decode()
    alternative = escape(f"{image.name}: {image.caption}")
    return (
        f'<figure>\n<img src="data:image/png;base64,{data}" alt="{alternative}">\n'
        f"<figcaption>{_text(image.caption)}</figcaption>\n</figure>"
    )


def _picture(picture: Picture, svgs: Mapping[str, str]) -> str:
    if picture.name not in svgs:
        return ""
    label = f'<svg role="img" aria-label="{escape(picture.alternative)}" '
    drawn = plots.inline(svgs[picture.name], picture.name).replace("<svg ", label, 1)
    return (
        f'<figure>\n<div class="plot" tabindex="0" role="region" aria-label="{escape(picture.alternative)}">\n{drawn}\n'
        f"</div>\n<figcaption>{_line(picture.caption)}</figcaption>\n</figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"{_kind(table, k)}>{_line(h)}</th>' for k, h in enumerate(table.head))
    rows = "\n".join(f"<tr>{_cells(table, row)}</tr>" for row in table.rows)
    heading = f"<h3>{escape(table.title)}</h3>\n" if table.headed else ""
    kind = ' class="stacked"' if table.stacked else ""
    return (
        f'{heading}<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">\n'
        f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _cells(table: Table, row: Sequence[Line]) -> str:
    first, *others = row
    cells = (f"<td{_kind(table, k)}>{_line(cell)}</td>" for k, cell in enumerate(others, start=1))
    return f'<th scope="row">{_line(first)}</th>' + "".join(cells)


def _kind(table: Table, column: int) -> str:
    return ' class="words"' if column in table.words else ""


def _line(line: Line) -> str:
    return "".join(map(_part, parts(line)))


def _part(part: Part) -> str:
    if isinstance(part, str):
        return _text(part)
    if isinstance(part, Verdict):
        tone = part.word.replace(" ", "-") if part.word in ARROWS else "unknown"
        return f'<span class="verdict {tone}">{escape(ARROWS.get(part.word, part.word))}</span>'
    tag = _TAGS[type(part)]
    return f"<{tag}>{_text(part.text)}</{tag}>"


def _text(text: str) -> str:
    return _TOGETHER.sub(lambda found: found[0].replace(" ", "\u00a0"), escape(text))
