"""Write the files generated from the blocks: stored facts, model YAMLs, and two tables in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from instruments.paths import ROOT

ATTENDS = {
    "(N, C, 1, 1)": "channels",
    "(N, 1, H, W)": "positions",
    "(N, C, H, 1)": "rows",
    "(N, C, 1, W)": "columns",
    "(N, G, H, W)": "positions, for each group of channels",
    "(N, C, H, W)": "every value",
    "(N, C, L, L)": "cells of the map",
    "(N, C/2, 1, 1)": "half of the channels",
    "(N, C/2, H, W)": "every value of the other half",
    "(N, 2, H, W)": "positions, for each kernel",
    "(N, K, C)": "branches, for each channel",
    "(N, HW, HW)": "pairs of positions",
}
"""Words of the README for a map, by its shape."""


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/update_generated.py``: write everything and print the paths."""
    for script in ("make_block_table.py", "make_models.py"):  # the second reads the facts that the first writes
        subprocess.run([sys.executable, ROOT / "tools" / script], check=True)
    from yolo_attn.models.block_table import as_markdown  # reads the facts when imported

    for page, table in ((ROOT / "docs" / "blocks.md", as_markdown()), (ROOT / "README.md", readme_table())):
        print(replace_table(page, table))


def readme_table() -> str:
    """Return the README's table of the blocks: a row for those that attend over the same, and one for the others."""
    from yolo_attn.models.block_table import CHANNELS, describe_blocks

    over: dict[str, list[str]] = {}
    for block in describe_blocks():
        words = list(dict.fromkeys(ATTENDS[shape] for shape in re.findall(r"\(.*?\)", block["map"])))
        listed = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
        over.setdefault(listed, []).append(f"[`{block['name']}`]({block['link']}) {block['parameters']:,}")
    rows = [["attention over", f"blocks, with their parameters at C={CHANNELS}"], ["---"] * 2]
    rows += [[listed, ", ".join(blocks)] for listed, blocks in over.items() if len(blocks) > 1]
    others = [f"{blocks[0]} ({listed})" for listed, blocks in over.items() if len(blocks) == 1]
    rows += [["others", ", ".join(others)]] if others else []
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def replace_table(page: Path, table: str) -> Path:
    """Replace the table of a page that has the same head as the new one.

    Raises:
        ValueError: If the page has no such table.
    """
    head = table.split("\n", 1)[0]
    text, found = re.subn(
        rf"^{re.escape(head)}\n(\|.*\n)*", lambda _: table + "\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    if found != 1:
        raise ValueError(f"{page} has {found} tables that begin with {head}")
    page.write_text(text, encoding="utf-8")
    return page
