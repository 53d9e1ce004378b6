"""Write the files generated from the blocks: stored facts, model YAMLs, and tables in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from instruments.paths import ROOT


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/update_generated.py``: write everything and print the paths."""
    for script in ("make_block_table.py", "make_models.py"):  # the second reads the facts that the first writes
        subprocess.run([sys.executable, ROOT / "tools" / script], check=True)
    from yolo_attn.models.block_table import as_markdown  # reads the facts when imported

    for page, tables in ((ROOT / "docs" / "blocks.md", as_markdown()), (ROOT / "README.md", readme_table())):
        print(replace_tables(page, tables))
    from instruments.published.table import write_page
    from instruments.site.tables import write_pages

    print(write_page())
    print(*write_pages(), sep="\n")


def readme_table() -> str:
    """Return the README's table of the blocks: a row for those that attend over the same, and one for the others."""
    from yolo_attn.models.block_table import CHANNELS, attends, describe_blocks

    over: dict[str, list[str]] = {}
    for block in describe_blocks():
        listed = attends(block["map"])
        over.setdefault(listed, []).append(f"[`{block['name']}`]({block['link']}) {block['parameters']:,}")
    rows = [["attention over", f"blocks, with their parameters at C={CHANNELS}"], ["---"] * 2]
    rows += [[listed, ", ".join(blocks)] for listed, blocks in over.items() if len(blocks) > 1]
    others = [f"{blocks[0]} ({listed})" for listed, blocks in over.items() if len(blocks) == 1]
    rows += [["others", ", ".join(others)]] if others else []
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def replace_tables(page: Path, tables: str) -> Path:
    """Replace the tables of a page that have the same heads as the new ones, and what is between them.

    Raises:
        ValueError: If the page has no such tables, or several.
    """
    heads = [re.escape(head) for head in re.findall(r"^(\|.*)\n\| ---", tables, flags=re.MULTILINE)]
    between = r"\n(?:.*\n)*?"
    text, found = re.subn(
        rf"^{between.join(heads)}\n(\|.*\n)*",
        lambda _: tables + "\n",
        page.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if found != 1:
        raise ValueError(f"{page} has {found} times tables that begin with {' and '.join(heads)}")
    page.write_text(text, encoding="utf-8")
    return page
