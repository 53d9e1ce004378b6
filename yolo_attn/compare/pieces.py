"""Split the runs of a comparison into parts that are carried out on several machines, or at several times."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from yolo_attn.compare.run_folder import RunSpec
from yolo_attn.errors import YoloAttnError


@dataclass(frozen=True)
class Piece:
    """One of several parts of a comparison, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def of(cls, text: str) -> Piece:
        """Read a part such as ``1/3``.

        Raises:
            YoloAttnError: If it is none.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        piece = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= piece.number <= piece.count:
            raise YoloAttnError(f"--only {text}: give a part and their number, from 1/3 to 3/3 for three parts")
        return piece

    def specs(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        """Return the runs of this part; no two parts differ by more than one run in all, or in the runs of a seed.

        The models of a seed are dealt to the parts in turn, and each seed goes on where the one before ended, or one
        further where every model would come to the same part again. So every part has its share of every model.

        Args:
            specs: All runs, seed by seed.

        Raises:
            YoloAttnError: If there are fewer runs than parts.
        """
        if len(specs) < self.count:
            raise YoloAttnError(f"--only {self}: {len(specs)} runs cannot be dealt to {self.count} parts")
        arms = len({spec.arm for spec in specs})
        round_of_seeds = self.count // math.gcd(arms, self.count)
        dealt = [(i + i // arms // round_of_seeds) % self.count for i in range(len(specs))]
        return [spec for spec, part in zip(specs, dealt, strict=True) if part == self.number - 1]

    def others(self) -> str:
        """Return what the other parts are called."""
        parts = [f"--only {k}/{self.count}" for k in range(1, self.count + 1) if k != self.number]
        return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
