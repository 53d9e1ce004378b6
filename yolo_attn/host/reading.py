"""Read the arguments of all rows of a model dict as they are read when it is built, and go on after an error."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like
from yolo_attn.host.compat import tasks
from yolo_attn.host.row_arguments import Reading, read_arguments
from yolo_attn.host.row_classes import RowArguments, RowSpec
from yolo_attn.host.rows import prepare_rows

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class _Recorder(RowSpec):
    """A row spec that notes its reading instead of building a block."""

    found: dict[int, Reading | YoloAttnError] = field(default_factory=dict)

    def at(self, widths: list[int], source: int) -> RowSpec:
        if self.written is None:
            return self
        try:
            channels = self.written.of_input(self.index, source, widths)
            self.found[self.index] = read_arguments(self.cls, self.called, self.arguments, channels)
        except YoloAttnError as error:
            self.found[self.index] = like(error, f"{self.label}: {error}")
        return self

    def build(self, channels: int) -> nn.Module:
        from torch import nn

        return nn.Identity()


def readings(model: Mapping[str, Any], scale: str | None) -> dict[int, Reading | YoloAttnError]:
    """Return how each row of a block is read whose arguments have no names; the error where they mean nothing.

    Args:
        model: A model dict whose rows were checked.
        scale: The scale to build it at, ``None`` for a model without scales.

    Raises:
        YoloAttnError: If Ultralytics cannot build the other rows.
    """
    import torch

    found: dict[int, Reading | YoloAttnError] = {}
    prepared, has_extra_row = prepare_rows({**deepcopy(dict(model)), "scale": scale}, tasks())
    for row in (*prepared["backbone"], *prepared["head"]):
        if isinstance(row[3], RowArguments):
            spec = row[3][2]
            row[3][2] = _Recorder(**{f.name: getattr(spec, f.name) for f in fields(spec)}, found=found)
    prepared["head"] = prepared["head"][:-1] if has_extra_row else prepared["head"]
    parse: Any = tasks().parse_model
    with torch.device("meta"):
        try:
            getattr(parse, "__wrapped__", parse)(prepared, ch=model.get("channels", 3), verbose=False)
        except Exception as error:
            raise like(error, f"this model cannot be built: {type(error).__name__}: {error}") from error
    return found


def fault_of_row(model: Mapping[str, Any], index: int) -> YoloAttnError | None:
    """Return the error of one row of a model dict, whatever the other rows are; ``None`` where it has none.

    Errors that depend on the channels are not found; :func:`readings` has them.
    """
    split = len(model["backbone"])
    listed = [*model["backbone"], *model["head"]]
    alone = [row if i == index else [-1, 1, "nn.Identity", []] for i, row in enumerate(listed)]
    try:
        prepare_rows({**model, "backbone": alone[:split], "head": alone[split:]}, tasks())
    except YoloAttnError as error:
        return error
    return None
