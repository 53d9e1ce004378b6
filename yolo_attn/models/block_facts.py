"""What a block's class says of itself: its paper, its map, its hyper-parameters, its number of parameters."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.host.hyper import hyper_parameters
from yolo_attn.models.block_table import CHANNELS, STORED
from yolo_attn.util.files import write_json


def write_facts(path: Path = STORED) -> Path:
    """Write what the shipped blocks say of themselves, and return the path."""
    return write_json(path, [describe(name, cls, CHANNELS) for name, cls in ATTENTION_BLOCKS.items()])


def describe(name: str, cls: type[nn.Module], channels: int) -> dict[str, Any]:
    """Describe a block by its class: what it is called, where it is from, what it computes and takes.

    Args:
        name: YAML name.
        cls: The class.
        channels: Channels to count its parameters at.
    """
    block = cls(channels)
    title, link = _paper(name, cls)
    return {
        "name": name,
        "paper": title,
        "link": link,
        "map": _map_shape(block, channels),
        "parameters": sum(p.numel() for p in block.parameters()),
        "hyper_parameters": {p.name: _default(p) for p in hyper_parameters(cls).values()},
    }


def _paper(name: str, cls: type) -> tuple[str, str]:
    """Return title and link from the module's docstring: the entry that begins with the block's name, or the first."""
    text = " ".join((inspect.getdoc(inspect.getmodule(cls)) or "").split())
    entries = re.findall(r'(\w*): [^":]*"([^"]+)", [^"]*?(https://\S+)', text)
    entries.sort(key=lambda entry: entry[0] != name)
    return entries[0][1:] if entries else ("", "")


def _map_shape(block: nn.Module, channels: int) -> str:
    if not hasattr(block, "attention"):
        return ""
    letters = {1: "1", channels: "C", 6: "H", 5: "W", 30: "HW", 8: "G", 2: "N"}
    with torch.no_grad():
        maps = block.eval().attention(torch.rand(2, channels, 6, 5))
    maps = maps if isinstance(maps, tuple) else (maps,)
    return ", ".join("(" + ", ".join(letters.get(n, str(n)) for n in m.shape) + ")" for m in maps)


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "?"
    choices = typing.get_args(parameter.annotation) if not isinstance(parameter.annotation, str) else ()
    return "|".join(map(str, choices)) if choices else str(parameter.default)
