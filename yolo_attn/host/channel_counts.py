"""Tell a number of channels at the start of a row's arguments, as other people write it, from a hyper-parameter.

Public model YAMLs write ``[-1, 1, SE, [1024]]`` for a class that takes the number of channels first. Here channels are
found by the library. So a leading integer that equals the channels of the row's input, as the YAML writes them or as
they are at the model's scale, is that number; a second equal integer is the number of the output's channels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_attn.host.compat import tasks
from yolo_attn.host.row_names import means_block
from yolo_attn.host.wiring import rows_of, sources_of


@dataclass(frozen=True)
class Widths:
    """The channels of a row's input.

    Attributes:
        now: At the model's scale.
        written: As the model YAML writes them.
    """

    now: int
    written: int

    def __str__(self) -> str:
        return f"{self.written}" if self.now == self.written else f"{self.written}, at this scale {self.now}"


def starts_with_integer(args: Sequence[Any]) -> bool:
    """Tell whether arguments may start with a number of channels."""
    return bool(args) and type(args[0]) is int


def counts_in(args: Sequence[Any], widths: Widths) -> int:
    """Return how many arguments at the start are numbers of channels: 0, 1, or 2 if the second equals it or is None."""
    if not starts_with_integer(args) or args[0] not in (widths.now, widths.written):
        return 0
    return 2 if len(args) > 1 and (args[1] is None or (args[1] == args[0] and type(args[1]) is int)) else 1


class WrittenWidths:
    """The channels of every row's result as a model YAML writes them, before they are scaled.

    Args:
        model: A model dict, with the scale it is built at.
    """

    def __init__(self, model: Mapping[str, Any]):
        self.model = model

    @functools.cached_property
    def _scaling(self) -> tuple[float, float]:
        """Factor of the channels, and the most channels before it."""
        if scales := self.model.get("scales"):
            _, factor, most = scales[self.model.get("scale") or next(iter(scales))]
            return factor, most
        return self.model.get("width_multiple", 1.0), float("inf")

    def of_input(self, index: int, source: int, widths: Sequence[int]) -> Widths:
        """Return the channels that a row reads.

        Args:
            index: The row.
            source: Its ``from``.
            widths: Channels of the results of the rows before it, at the model's scale; for the first row, the image's.
        """
        if index == 0:
            return Widths(widths[-1], widths[-1])
        written: list[int] = []
        for i, row in enumerate(rows_of(self.model)[:index]):
            written.append(self._written(i, row, written, widths))
        return Widths(widths[source], written[source])

    def _written(self, index: int, row: list[Any], written: Sequence[int], widths: Sequence[int]) -> int:
        _, _, name, args = row
        is_block = means_block(name, tasks())
        if not is_block and starts_with_integer(args) and self._scaled(args[0]) == widths[index]:
            return int(args[0])
        sources = sources_of(index, row)
        if -1 in sources:
            return widths[index]
        if name == "Concat":
            return sum(written[s] for s in sources)
        return written[sources[0]] if widths[sources[0]] == widths[index] else widths[index]

    def _scaled(self, channels: int) -> int:
        factor, most = self._scaling
        scaled: int = tasks().make_divisible(min(channels, most) * factor, 8)
        return scaled
