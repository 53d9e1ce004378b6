"""The model YAMLs that ship in ``cfg/models``: every block in the neck of each family, some in the backbone too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yolo_attn.model_yaml import Insertion, insert
from yolo_attn.registry import SHIPPED_ALIASES

FAMILIES = ("yolov8", "yolo11", "yolo26")
BACKBONE_BLOCKS = ("SE", "ECA", "CA", "ELA")
LEVELS = "P3,P4,P5"


def ready_models() -> Iterator[tuple[str, Insertion]]:
    """Yield file name and content of every shipped model YAML.

    Blocks start as the identity, so that pretrained weights give at first what they gave without attention; a row's
    ``init: paper`` restores the initialisation of the block's paper.
    """
    for family in FAMILIES:
        for block in SHIPPED_ALIASES:
            yield f"{family}-{block.lower()}.yaml", _with(family, block, "neck")
        for block in BACKBONE_BLOCKS:
            yield f"{family}-{block.lower()}-backbone.yaml", _with(family, block, "backbone")


def write_ready_models(folder: str | Path) -> list[Path]:
    """Write every shipped model YAML into a folder, and return the paths."""
    return [made.save(Path(folder) / name) for name, made in ready_models()]


def _with(family: str, block: str, place: str) -> Insertion:
    return insert(f"{family}.yaml", block, at=f"{place}:{LEVELS}", init="identity")
