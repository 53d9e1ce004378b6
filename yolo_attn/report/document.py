"""Assemble self-contained HTML files, which need no network and no other files."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("report.css")


def document(title: str, body: Iterable[str], styles: Iterable[Path] = (STYLE,), scripts: Iterable[Path] = ()) -> str:
    """Return a complete HTML file.

    Args:
        title: Title, not escaped.
        body: Lines of HTML for the body.
        styles: Style sheets to embed.
        scripts: Scripts to embed at the end of the body.
    """
    style = "\n".join(path.read_text(encoding="utf-8") for path in styles)
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        *body,
        *(f"<script>\n{path.read_text(encoding='utf-8')}</script>" for path in scripts),
        "</body>",
        "</html>\n",
    ])  # fmt: skip
