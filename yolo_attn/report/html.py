"""Render the report as one self-contained HTML file, which needs no network and no other files."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

from yolo_attn.report.document import STYLE, document
from yolo_attn.report.drawing import to_svg
from yolo_attn.report.formatting import ARROWS
from yolo_attn.report.html_table import drawing, table_to_html
from yolo_attn.report.parts import (
    Axis,
    Block,
    Bullets,
    Code,
    Fold,
    Forest,
    Gallery,
    Heading,
    Image,
    Line,
    Link,
    Muted,
    Panel,
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

SCRIPT = Path(__file__).with_name("report.js")
_TOGETHER = re.compile(r"\[[−+\d., ]+\](?: %)?|\d %(?: slower| faster)?|p [=<] [\d.]+|± |\d \(|batch \d+")
_TAGS = {Strong: "strong", Code: "code", Muted: "small"}


def to_html(results: Results, files: Iterable[str] = ()) -> str:
    """Return the report of a comparison; equal results give equal bytes.

    Args:
        results: Results of a comparison.
        files: Existing files of the runs, relative to the report, which are linked.
    """
    return page(build(results, files), scripts=[SCRIPT])


def page(report: Report, styles: Iterable[Path] = (STYLE,), scripts: Iterable[Path] = ()) -> str:
    """Return a report as a whole HTML file.

    Args:
        report: The report.
        styles: Style sheets that go into the file.
        scripts: Scripts that go into the file.
    """
    contents = _contents(report) if report.contents else ""
    body = [
        f"<header>\n<h1>{escape(report.title)}</h1>\n<p>{escape(report.subtitle)}</p>\n{contents}</header>",
        "<main>",
        *map(_section, report.sections),
        "</main>",
    ]
    return document(report.title, body, styles, scripts)


def _contents(report: Report) -> str:
    links = "\n".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in report.sections)
    return f'<nav aria-label="Contents">\n<ul>\n{links}\n</ul>\n</nav>\n'


def _section(section: Section) -> str:
    kind = ' class="warning"' if section.warning else ""
    body = "\n".join(filter(None, map(_block, section.blocks)))
    heading = f'<h2 id="{section.key}">{escape(section.title)}</h2>'
    body = f"<details>\n<summary>{heading}</summary>\n{body}\n</details>" if section.folded else f"{heading}\n{body}"
    return f'<section aria-labelledby="{section.key}"{kind}>\n{body}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{_line(block.line)}</p>"
    if isinstance(block, Bullets):
        return "<ul>\n" + "\n".join(f"<li>{_line(line)}</li>" for line in block.lines) + "\n</ul>"
    if isinstance(block, Table):
        return table_to_html(block, _line)
    if isinstance(block, Fold):
        inside = "\n".join(map(_block, block.blocks))
        return f"<details>\n<summary>{escape(block.title)}</summary>\n{inside}\n</details>"
    if isinstance(block, Heading):
        return f"<h3>{escape(block.text)}</h3>" if block.text else ""
    if isinstance(block, Gallery):
        return _gallery(block)
    return _picture(block)


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


def _picture(picture: Picture) -> str:
    """Return a plot; one that has no panels is in the tables already."""
    if not picture.panels:
        return ""
    panels = "\n".join(_panel(panel, picture) for panel in picture.panels)
    drawn = f'<div class="{"plots" if len(picture.panels) > 1 else "plot"}">\n{panels}\n</div>'
    if picture.narrow:
        narrow = to_svg(picture.narrow, picture.alternative)
        drawn = f'<div class="wide">{drawn}</div>\n<div class="narrow">{narrow}</div>'
    kind = "" if len(picture.panels) > 1 else ' class="single"'
    return f"<figure{kind}>\n{drawn}\n<figcaption>{_line(picture.caption)}</figcaption>\n</figure>"


def _panel(panel: Panel, picture: Picture) -> str:
    if not panel.arm:
        return to_svg(panel.drawing, picture.alternative)
    label = f"{panel.arm}: {picture.alternative}"
    title = f'<p class="panel-title">{escape(panel.arm)}</p>'
    return f'<div data-arm="{escape(panel.arm)}">{title}{to_svg(panel.drawing, label)}</div>'


def _line(line: Line) -> str:
    return "".join(map(_part, parts(line)))


def _part(part: Part) -> str:
    if isinstance(part, str):
        return _text(part)
    if isinstance(part, Verdict):
        tone = part.word.replace(" ", "-") if part.word in ARROWS else "unknown"
        return f'<span class="verdict {tone}">{_word(part)}</span>'
    if isinstance(part, Link):
        return f'<a href="{escape(quote(part.target))}">{escape(part.text)}</a>'
    if isinstance(part, Forest | Axis):
        return drawing(part)
    tag = _TAGS[type(part)]
    return f"<{tag}>{_text(part.text)}</{tag}>"


def _word(verdict: Verdict) -> str:
    """Return a verdict with its arrow, which no line break parts from the word."""
    return escape(ARROWS.get(verdict.word, verdict.word)).replace(" ", "\u00a0", 1)


def _text(text: str) -> str:
    together = _TOGETHER.sub(lambda found: found[0].replace(" ", "\u00a0"), escape(text))
    return together.replace("mAP50-95", '<span class="whole">mAP50-95</span>')
