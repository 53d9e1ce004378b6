"""All pictures as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from yolo_attn.report.document import STYLE, document
from yolo_attn.show.content import Card, Chapter, Panel

_LEFT = 3  # columns of the overview that hold words


@dataclass(frozen=True)
class Overview:
    """The table of one model.

    Attributes:
        title: The model.
        head: Headings of the columns.
        rows: Their cells; none for a model without attention.
        note: What is said instead of a table.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def to_html(
    title: str, subtitle: str, reading: Sequence[str], overviews: Sequence[Overview], chapters: Sequence[Chapter]
) -> str:
    """Return the page.

    Args:
        title: Its heading.
        subtitle: The line below.
        reading: How to read it, a paragraph each.
        overviews: The table of each model.
        chapters: The pictures of each image.
    """
    links = "\n".join(f'<li><a href="#{escape(c.key)}">{escape(c.title)}</a></li>' for c in chapters)
    body = [
        f"<header>\n<h1>{escape(title)}</h1>\n<p>{escape(subtitle)}</p>",
        f'<nav aria-label="Contents">\n<ul>\n{links}\n<li><a href="#gates">All gates</a></li>\n</ul>\n</nav>',
        "</header>",
        "<main>",
        *(_chapter(chapter) for chapter in chapters),
        '<section aria-labelledby="gates">\n<h2 id="gates">All gates</h2>',
        *(f"<p>{escape(text)}</p>" for text in reading),
        *(_overview(overview) for overview in overviews),
        "</section>",
        "</main>",
    ]
    return document(title, body, (STYLE, Path(__file__).with_name("show.css")))


def _overview(overview: Overview) -> str:
    heading = f"<h3>{escape(overview.title)}</h3>"
    if not overview.rows:
        return f"{heading}\n<p>{escape(overview.note)}</p>"
    head = "".join(f'<th scope="col"{_kind(k)}>{escape(cell)}</th>' for k, cell in enumerate(overview.head))
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{_kind(k)}>{escape(cell)}</td>" for k, cell in enumerate(row[1:], start=1))
        + "</tr>"
        for row in overview.rows
    )
    return (
        f'{heading}\n<div class="scroll" tabindex="0" role="region" aria-label="{escape(overview.title)}">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _kind(column: int) -> str:
    return ' class="words"' if 0 < column < _LEFT else ""


def _chapter(chapter: Chapter) -> str:
    cards = "\n".join(map(_card, chapter.cards))
    key = escape(chapter.key)
    return f'<section aria-labelledby="{key}">\n<h2 id="{key}">{escape(chapter.title)}</h2>\n{cards}\n</section>'


def _card(card: Card) -> str:
    heading = f"<h3>{escape(card.title)}</h3>\n" if card.title else ""
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in card.notes)
    columns = "\n".join(f'<div class="panels">\n{_figures(c)}\n</div>' for c in card.columns)
    beside = f'<div class="beside">\n{columns}\n</div>' if len(card.columns) > 1 else columns
    return f"{heading}{notes}{beside}"


def _figure(panel: Panel) -> str:
    data = base64.b64encode(panel.png).decode()
    alternative = escape(f"{panel.name}: {panel.caption}")
    return (
        f'<figure>\n<img src="data:image/png;base64,{data}" alt="{alternative}">\n'
        f"<figcaption>{escape(panel.caption)}</figcaption>\n</figure>"
    )


def _figures(panels: Sequence[Panel]) -> str:
    return "\n".join(map(_figure, panels))
