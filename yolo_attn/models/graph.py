"""Graph of the layers of a model dict: sources, strides and roles.

Roles are derived from the graph: the stride of each layer is measured, the layers that the head reads are the outputs
of the neck, and the last backbone layer of each stride is that level's output of the backbone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from yolo_attn.host.model import row_strides, split_name
from yolo_attn.host.wiring import IMAGE, Row, rows_of, sources_of

__all__ = ["IMAGE", "POOLING", "Graph", "Row", "level_of", "rows_of", "sources_of"]

POOLING = ("SPPF", "SPP", "SPPELAN")
"""Host blocks of the role ``sppf``."""


def level_of(stride: float) -> str | None:
    """Return ``Pk`` for a stride of ``2**k`` pixels, ``k`` at least 1."""
    level = math.log2(stride) if stride >= 1 else -1
    return f"P{int(level)}" if level == int(level) and level >= 1 else None


@dataclass(frozen=True)
class Graph:
    """Layers of a model dict with their sources, strides and roles.

    Attributes:
        model: The model dict.
    """

    model: Mapping[str, Any] = field(repr=False)

    @cached_property
    def rows(self) -> list[Row]:
        """All rows: backbone, then head."""
        return rows_of(self.model)

    @cached_property
    def strides(self) -> list[float]:
        """Stride of each row's output in pixels, the last row left out; 0 where the output is no feature map."""
        return row_strides(self.model)

    @property
    def last(self) -> int:
        """Number of the last row, which is the model's head."""
        return len(self.rows) - 1

    def sources(self, index: int) -> list[int]:
        """Return the rows that a row reads; the image is row -1."""
        return sources_of(index, self.rows[index])

    def level(self, index: int) -> str | None:
        """Return the pyramid level of a row's output, e.g. ``P3``."""
        return level_of(self.strides[index]) if 0 <= index < self.last else None

    def section(self, index: int) -> str:
        """Return ``backbone`` or ``neck``, the part of the model a row belongs to."""
        return "backbone" if index < len(self.model["backbone"]) else "neck"

    def host_name(self, index: int) -> str:
        """Return the name of a row's module, without an attention block inside it."""
        name = self.rows[index][2]
        parts = split_name(name)
        return parts[0] if parts else name

    @cached_property
    def roles(self) -> dict[str, dict[str, int]]:
        """The row that ends each level: ``{"backbone": {"P1": 0, ...}, "neck": {"P3": 16, ...}}``.

        A model whose last row reads one row only (a classifier) has no neck.
        """
        backbone = {level: i for i in range(len(self.model["backbone"])) if (level := self.level(i))}
        feeding = self.sources(self.last)
        neck = {level: i for i in feeding if (level := self.level(i))} if len(feeding) > 1 else {}
        return {"backbone": backbone, "neck": neck}

    @cached_property
    def pooling(self) -> list[int]:
        """The rows that pool at several sizes (SPPF and its variants)."""
        return [i for i in range(len(self.rows)) if self.host_name(i) in POOLING]
