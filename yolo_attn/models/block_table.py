"""The table of blocks: name, paper, map, hyper-parameters, parameters, other names.

What it says of the shipped blocks is stored in a file, so that nobody waits for torch to read it; a user's registered
blocks are described when asked for.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host import registry

CHANNELS = 256
STORED = Path(__file__).with_name("block_facts.json")
"""What the shipped blocks say of themselves; written by ``python tools/make_block_table.py``."""


def describe_blocks() -> list[dict[str, Any]]:
    """Describe every registered block: name, paper, link, map, parameters, hyper-parameters, aliases."""
    table = []
    for name in registry.names():
        facts = _facts_of(name)
        hyper = ", ".join(f"{word}={default}" for word, default in facts["hyper_parameters"].items())
        table.append({**facts, "hyper_parameters": hyper, "aliases": registry.aliases_of(name)})
    return table


def check_spelling(blocks: Iterable[str], hyper: Collection[str]) -> None:
    """Refuse an unknown block, or a hyper-parameter that a shipped block does not have, without importing torch.

    Raises:
        YoloAttnError: If there is one; the message names the nearest.
    """
    for name in map(registry.canonical, blocks):
        allowed = _stored(name)["hyper_parameters"] if _stored(name) else hyper
        for word in hyper:
            if word not in allowed:
                raise YoloAttnError(f"{name}: {one_of('hyper-parameter', word, allowed)}")


def as_json() -> str:
    """Return the table as JSON."""
    return json.dumps(describe_blocks(), indent=2)


def as_text() -> str:
    """Return the table as aligned text."""
    rows = [("block", f"params C={CHANNELS}", "hyper-parameters", "other names")]
    rows += [
        (b["name"], f"{b['parameters']:,}", b["hyper_parameters"], ", ".join(b["aliases"])) for b in describe_blocks()
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in rows
    )


def as_markdown() -> str:
    """Return the table as Markdown, with papers and map shapes."""
    head = ["block", "paper", "map", f"parameters, C={CHANNELS}", "hyper-parameters"]
    rows = [head, ["---"] * len(head)]
    for b in describe_blocks():
        rows.append(
            [
                f"`{b['name']}`",
                f"[{b['paper']}]({b['link']})",
                b["map"],
                f"{b['parameters']:,}",
                f"`{b['hyper_parameters']}`",
            ]
        )
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _facts_of(name: str) -> dict[str, Any]:
    if stored := _stored(name):
        return stored
    from yolo_attn.models.block_facts import describe

    return describe(name, registry.resolve(name)[1], CHANNELS)


def _stored(name: str) -> dict[str, Any] | None:
    return _read_stored().get(name) if registry.holds_shipped(name) else None


@functools.cache
def _read_stored() -> dict[str, dict[str, Any]]:
    return {facts["name"]: facts for facts in json.loads(STORED.read_text(encoding="utf-8"))}
