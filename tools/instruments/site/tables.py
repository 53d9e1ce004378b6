"""Tables of figures on the Chinese pages: those of the English pages, with their words translated.

``<!-- table 2 -->`` on the line before a table of ``docs/X.zh.md`` says that it is the second table of ``docs/X.md``.
``python tools/update_generated.py`` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from instruments.paths import ROOT

WORDS: dict[str, str] = yaml.safe_load((Path(__file__).parent / "tables.zh.yml").read_text(encoding="utf-8"))
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_MARKED = re.compile(r"^<!-- table (\d+) -->\n(?:\|.*\n)*", re.MULTILINE)
_KNOWN = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(WORDS, key=len, reverse=True)))


def write_pages() -> Iterator[Path]:
    """Write the tables of every Chinese page that marks some, and yield its path."""
    for page in (ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.zh.md"))):
        text = page.read_text(encoding="utf-8")
        if _MARKED.search(text):
            english = page.with_name(re.sub(r"\.zh(-CN)?\.md$", ".md", page.name)).read_text(encoding="utf-8")
            page.write_text(with_tables(text, english), encoding="utf-8")
            yield page


def with_tables(chinese: str, english: str) -> str:
    """Return a Chinese page whose marked tables have the figures of the English page.

    Raises:
        ValueError: If the English page has no such table, or it has a word without a translation.
    """
    tables = _TABLE.findall(english)

    def table(mark: re.Match[str]) -> str:
        number = int(mark[1])
        if not 1 <= number <= len(tables):
            raise ValueError(f"there is no table {number}: the English page has {len(tables)}")
        return f"<!-- table {number} -->\n" + "".join(map(row, tables[number - 1].splitlines()))

    return _MARKED.sub(table, chinese)


def row(english: str) -> str:
    """Return a row of a table in Chinese, without padding."""
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", english)[1:-1]]
    if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
        return "| " + " | ".join(re.sub("-+", "---", cell) for cell in cells) + " |\n"
    return "| " + " | ".join(map(translated, cells)) + " |\n"


def translated(cell: str) -> str:
    """Return a cell with its words in Chinese; code, figures, and links to other sites stay.

    Raises:
        ValueError: If a word has no translation.
    """
    if cell in WORDS:
        return WORDS[cell]
    parts = re.split(r"(`[^`]*`|\[[^\]]*\]\(https:[^)]*\))", cell)
    if unknown := re.search(r"\b[a-z]{4,}\b", _KNOWN.sub("", " ".join(parts[::2]))):
        raise ValueError(f"tables.zh.yml has no Chinese for {unknown[0]!r} in {cell!r}")
    parts[::2] = [_KNOWN.sub(lambda word: WORDS[word[0]], part) for part in parts[::2]]
    text = re.sub(r"([,;]) (?=[^\x00-\x7f])", lambda mark: {",": "，", ";": "；"}[mark[1]], "".join(parts))
    return re.sub(r"(?<=[，；：]) ", "", text)
