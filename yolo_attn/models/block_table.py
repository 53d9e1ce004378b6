"""Table of the attention blocks: name, paper, map shapes, parameters, hyper-parameters, aliases, and what was measured.

The facts of the shipped blocks are stored in a JSON file, because importing torch takes seconds, and what was measured
in another, with the machine. Blocks that a user registered are described from their class, and nothing was measured.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host import registry
from yolo_attn.host.hyper import hyper_parameters

if TYPE_CHECKING:
    from torch import nn

CHANNELS = 256
"""Width at which the parameters are counted."""

Facts = dict[str, Any]

MEASURED = registry.STORED.with_name("block_measurements.json")
"""Measurements of the shipped blocks, with the machine; written by ``tools/measure_table.py``."""

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
"""Words for that over which a block attends, by the shape of its map."""


def describe_blocks() -> list[Facts]:
    """Return the facts of every registered block, and what was measured of the shipped ones."""
    blocks = []
    for name in registry.names():
        facts = _stored(name) or describe_class(name, registry.resolve(name)[1])
        hyper = ", ".join(f"{word}={default}" for word, default in facts["hyper_parameters"].items())
        aliases = registry.aliases_of(name)
        blocks.append({**facts, "hyper_parameters": hyper, "aliases": aliases, **_measured(name)})
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
        "year": getattr(paper, "year", None),
        "map": _map_shapes(block, channels),
        "parameters": sum(p.numel() for p in block.parameters()),
        "identity": _identity(cls, channels),
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
    """Return two Markdown tables, of the facts with what was measured, and of papers and hyper-parameters."""
    head = [
        "block",
        "year",
        "attention over",
        f"parameters, C={CHANNELS}",
        "forward / SE",
        "training / SE",
        "gain",
        "identity by",
    ]
    head += ["exported as PyTorch", "public YAMLs"]
    blocks = describe_blocks()
    facts = _markdown([head, *map(_row, blocks)])
    papers = _markdown([["block", "paper", "map", "hyper-parameters"], *map(_paper, blocks)])
    return f"{facts}\n\nTimes: {_read_measured()['cost']['where']}.\n\n{papers}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    lines = (head, ["---"] * len(head), *others)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def _row(b: Facts) -> list[str]:
    """Return a block's row of the first table; what is not known is left empty."""
    cost, public, beyond = b["cost"], b["public_yamls"], b["beyond_tolerance"]
    name = f"`{b['name']}`"
    return [
        f"[{name}]({b['link']})" if b["link"] else name,
        str(b["year"] or ""),
        attends(b["map"]),
        f"{b['parameters']:,}",
        *(_ratio(cost[word]) if cost else "" for word in ("forward", "training")),
        "" if b["gain"] is None else f"{b['gain']:.2f}",
        b["identity"],
        "" if beyond is None else _exports(beyond),
        f"{public['repositories']} / {public['yamls']}{public['note']}" if public else "",
    ]


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _exports(beyond: Mapping[str, Sequence[str]]) -> str:
    """Return ``all`` if a block exports to all formats as PyTorch, and otherwise what is beyond the tolerance where."""
    formats: dict[str, list[str]] = {}
    for format, cells in beyond.items():
        for cell in cells:
            formats.setdefault(cell, []).append(format)
    exceptions = [f"{cell} of {', '.join(names)}" for cell, names in formats.items()]
    return f"all but {'; '.join(exceptions)}" if exceptions else "all"


def _paper(b: Facts) -> list[str]:
    """Return a block's row of the second table; a line may break between two maps only."""
    maps = b["map"].replace("), (", ") (").replace(", ", ",")
    paper = f"[{b['paper']}]({b['link']})" if b["link"] else b["paper"]
    return [f"`{b['name']}`", paper, maps, f"`{b['hyper_parameters']}`"]


def attends(maps: str) -> str:
    """Return what a block attends over, in words, by the shapes of its maps.

    Examples:
        >>> attends("(N, C, H, 1), (N, C, 1, W)")
        'rows and columns'
    """
    words = list(dict.fromkeys(ATTENDS.get(shape, shape) for shape in re.findall(r"\(.*?\)", maps)))
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


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


def _identity(cls: type[nn.Module], channels: int) -> str:
    """Return by what ``init="identity"`` starts a shipped block as the identity; empty for other classes."""
    from yolo_attn.blocks.base import AttentionBlock

    if not issubclass(cls, AttentionBlock) or "init" not in hyper_parameters(cls):
        return ""
    return "scalar" if cls(channels, init="identity").blends else "weights"


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


def _measured(name: str) -> Facts:
    """Return what was measured of a block: nothing of one that a user registered."""
    measured = _read_measured() if registry.holds_shipped(name) else {}
    cost = measured["cost"] if measured else {}
    return {
        "cost": {**cost["beside_SE"][name], "where": cost["where"]} if name in cost.get("beside_SE", ()) else None,
        **{key: measured[key].get(name) if measured else None for key in ("gain", "beyond_tolerance", "public_yamls")},
    }


@functools.cache
def _read_measured() -> Facts:
    return cast(Facts, json.loads(MEASURED.read_text(encoding="utf-8")))
