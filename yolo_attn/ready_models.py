"""The model YAMLs that ship in ``cfg/models``: every block in the neck of each family, some in the backbone too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yolo_attn.model_yaml import insert
from yolo_attn.registry import SHIPPED_ALIASES

FAMILIES = ("yolov8", "yolo11", "yolo26")
BACKBONE_BLOCKS = ("SE", "ECA", "CA", "ELA")
LEVELS = "P3,P4,P5"


def ready_models() -> Iterator[tuple[str, str, str, str]]:
    """Yield file name, family, block and place of every shipped model YAML."""
    for family in FAMILIES:
        for block in SHIPPED_ALIASES:
            yield f"{family}-{block.lower()}.yaml", family, block, "neck"
        for block in BACKBONE_BLOCKS:
            yield f"{family}-{block.lower()}-backbone.yaml", family, block, "backbone"


def write_ready_models(folder: str | Path) -> list[Path]:
    """Write every shipped model YAML into a folder, and return the paths.

    Blocks start as the identity, so that pretrained weights give at first what they gave without attention; a row's
    ``init: paper`` restores the initialisation of the block's paper.
    """
    return [
        insert(f"{family}.yaml", block, at=f"{place}:{LEVELS}", init="identity").save(Path(folder) / name)
        for name, family, block, place in ready_models()
    ]
