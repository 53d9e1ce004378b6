"""Generate the model YAMLs of ``cfg/models``: every block in the neck of each family, some elsewhere too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instruments.paths import MODELS
from yolo_attn.host.registry import SHIPPED_ALIASES
from yolo_attn.models.insert import Insertion, insert

FAMILIES = {"yolov8": "C2f", "yolo11": "C3k2", "yolo26": "C3k2"}
"""Stock models, and the host block that most of their layers are."""

FEW_BLOCKS = ("SE", "ECA", "CA", "ELA")
ELSEWHERE = {"backbone": FEW_BLOCKS, "inside": (*FEW_BLOCKS, "EMA", "LSKA", "CAA"), "sppf": ("LSKA",)}
"""Blocks that ship at other places than the neck too; ``inside`` and ``sppf`` are inside host blocks."""

LEVELS = "P3,P4,P5"


@dataclass(frozen=True)
class ReadyModel:
    """A model YAML that ships.

    Attributes:
        name: File name.
        family: Stock model it is made of.
        block: YAML name of the block.
        place: ``neck``, ``backbone``, ``inside`` or ``sppf``.
    """

    name: str
    family: str
    block: str
    place: str

    def make(self) -> Insertion:
        """Insert the block.

        It starts as the identity, so that pretrained weights give at first what they gave without attention; a row's
        ``init: paper`` restores the initialisation of the block's paper.
        """
        base = f"{self.family}.yaml"
        inside = {"inside": f"{FAMILIES[self.family]}@inner", "sppf": "SPPF@concat"}.get(self.place)
        if inside:
            return insert(base, self.block, inside=inside, init="identity")
        return insert(base, self.block, at=f"{self.place}:{LEVELS}", init="identity")


def ready_models() -> list[ReadyModel]:
    """Return every shipped model YAML: all blocks in the neck, some in the backbone and inside host blocks too."""
    models = []
    for family in FAMILIES:
        models += [ReadyModel(f"{family}-{b.lower()}.yaml", family, b, "neck") for b in SHIPPED_ALIASES]
        for place, blocks in ELSEWHERE.items():
            models += [ReadyModel(f"{family}-{b.lower()}-{place}.yaml", family, b, place) for b in blocks]
    return models


def write_ready_models(folder: str | Path) -> list[Path]:
    """Write every shipped model YAML into a folder, and return the paths."""
    return [model.make().save(Path(folder) / model.name) for model in ready_models()]


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/make_models.py``: write the files and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=MODELS)
    for path in write_ready_models(parser.parse_args(words).folder):
        print(path)
