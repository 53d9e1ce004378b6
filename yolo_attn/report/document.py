"""The frame of an HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("report.css")


def document(title: str, body: Iterable[str], styles: Iterable[Path] = (STYLE,)) -> str:
    """Return a whole HTML file.

    Args:
        title: Its title, not yet escaped.
        body: What stands in the body, one piece of HTML per line.
        styles: Style sheets that go into it.
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
        "</body>",
        "</html>\n",
    ])  # fmt: skip
