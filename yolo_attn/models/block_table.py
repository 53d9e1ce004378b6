"""Table of the attention blocks: name, paper, map shapes, parameters, hyper-parameters, aliases.

The facts of the shipped blocks are stored in a JSON file, because importing torch takes seconds. Blocks that a user
registered are described from their class.
"""

from __future__ import annotations

import functools
import inspect
import json
import typing
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, cast

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host import registry
from yolo_attn.host.hyper import hyper_parameters

if TYPE_CHECKING:
    from torch import nn

CHANNELS = 256
"""Width at which the parameters are counted."""

Facts = dict[str, Any]


def describe_blocks() -> list[Facts]:
    """Return name, paper, link, map, parameters, hyper-parameters and aliases of every registered block."""
    blocks = []
    for name in registry.names():
        facts = _stored(name) or describe_class(name, registry.resolve(name)[1])
        hyper = ", ".join(f"{word}={default}" for word, default in facts["hyper_parameters"].items())
        blocks.append({**facts, "hyper_parameters": hyper, "aliases": registry.aliases_of(name)})
    return blocks


def describe_class(name: str, cls: type[nn.Module], channels: int = CHANNELS) -> Facts:
    """Return the facts of one block, read from its class.

    Args:
        name: YAML name.
        cls: The class.
        channels: Width at which the parameters are counted.
    """
    block = cls(channels)
    paper = getattr(cls, "paper", None)
    return {
        "name": name,
        "aliases": list(getattr(cls, "aliases", ())),
        "paper": paper.title if paper else "",
        "link": paper.link if paper else "",
        "map": _map_shapes(block, channels),
        "parameters": sum(p.numel() for p in block.parameters()),
        "hyper_parameters": {p.name: _default(p) for p in hyper_parameters(cls).values()},
    }


def check_spelling(blocks: Iterable[str], hyper: Collection[str]) -> None:
    """Check block names, and hyper-parameter names of shipped blocks, without importing torch.

    Raises:
        YoloAttnError: If a name is unknown; the message names the nearest.
    """
    for name in map(registry.canonical, blocks):
        facts = _stored(name)
        allowed = facts["hyper_parameters"] if facts else hyper
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
        paper = f"[{b['paper']}]({b['link']})"
        rows.append([f"`{b['name']}`", paper, b["map"], f"{b['parameters']:,}", f"`{b['hyper_parameters']}`"])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


# --- facts of a class -------------------------------------------------------------------------------------------------
def _map_shapes(block: nn.Module, channels: int) -> str:
    """Return the shapes of the maps that a block computes, with letters for their sizes."""
    import torch

    from yolo_attn.blocks.base import MAPS, AttentionBlock

    if isinstance(block, AttentionBlock):
        return ", ".join(MAPS[kind] for kind in block.maps)
    if not hasattr(block, "attention"):
        return ""
    letters = {1: "1", channels: "C", 6: "H", 5: "W", 30: "HW", 8: "G", 2: "N"}
    with torch.no_grad():
        maps = cast(Any, block.eval()).attention(torch.rand(2, channels, 6, 5))
    maps = maps if isinstance(maps, tuple) else (maps,)
    return ", ".join("(" + ", ".join(letters.get(n, str(n)) for n in m.shape) + ")" for m in maps)


def _default(parameter: inspect.Parameter) -> str:
    """Return a parameter's default as text, or the words it may be."""
    if parameter.default is inspect.Parameter.empty:
        return "?"
    choices = typing.get_args(parameter.annotation) if not isinstance(parameter.annotation, str) else ()
    return "|".join(map(str, choices)) if choices else str(parameter.default)


# --- stored facts -----------------------------------------------------------------------------------------------------
def _stored(name: str) -> Facts | None:
    return _read_stored().get(name) if registry.holds_shipped(name) else None


@functools.cache
def _read_stored() -> dict[str, Facts]:
    return {facts["name"]: facts for facts in json.loads(registry.STORED.read_text(encoding="utf-8"))}
