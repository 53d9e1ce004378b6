"""The table of blocks: name, paper, map, hyper-parameters, parameters at 256 channels, other names."""

from __future__ import annotations

import inspect
import json
import re
import typing
from typing import Any

import torch

from yolo_attn.registry import aliases_of, registered
from yolo_attn.schema import hyper_parameters

CHANNELS = 256


def describe_blocks() -> list[dict[str, Any]]:
    """Describe every registered block; all of it is read off the classes themselves."""
    return [_describe(name, cls) for name, cls in registered().items()]


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


def _describe(name: str, cls: type) -> dict[str, Any]:
    block = cls(CHANNELS)
    title, link = _paper(name, cls)
    return {
        "name": name,
        "paper": title,
        "link": link,
        "map": _map_shape(block),
        "parameters": sum(p.numel() for p in block.parameters()),
        "hyper_parameters": ", ".join(f"{p.name}={_default(p)}" for p in hyper_parameters(cls).values()),
        "aliases": aliases_of(name),
    }


def _paper(name: str, cls: type) -> tuple[str, str]:
    """Return title and link from the module's docstring: the entry that begins with the block's name, or the first."""
    text = " ".join((inspect.getdoc(inspect.getmodule(cls)) or "").split())
    entries = re.findall(r'(\w*): [^":]*"([^"]+)", [^"]*?(https://\S+)', text)
    entries.sort(key=lambda entry: entry[0] != name)
    return entries[0][1:] if entries else ("", "")


def _map_shape(block: torch.nn.Module) -> str:
    if not hasattr(block, "attention"):
        return ""
    letters = {1: "1", CHANNELS: "C", 6: "H", 5: "W", 30: "HW", 8: "G", 2: "N"}
    with torch.no_grad():
        maps = block.eval().attention(torch.rand(2, CHANNELS, 6, 5))
    maps = maps if isinstance(maps, tuple) else (maps,)
    return ", ".join("(" + ", ".join(letters.get(n, str(n)) for n in m.shape) + ")" for m in maps)


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "?"
    choices = typing.get_args(parameter.annotation) if not isinstance(parameter.annotation, str) else ()
    return "|".join(map(str, choices)) if choices else str(parameter.default)
