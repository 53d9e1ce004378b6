"""Write the stored facts about the shipped blocks, so that ``yolo-attn blocks`` need not import torch."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.host.registry import STORED
from yolo_attn.models.block_table import describe_class
from yolo_attn.util.files import write_json


def write_facts(path: Path = STORED) -> Path:
    """Write the facts of every shipped block as JSON.

    Args:
        path: The file to write.

    Returns:
        The path.
    """
    return write_json(path, [describe_class(name, cls) for name, cls in ATTENTION_BLOCKS.items()])
