"""Classes that Ultralytics' parser calls for a row with attention, and the arguments that it calls them with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like
from yolo_attn.host.channel_counts import WrittenWidths
from yolo_attn.host.registry import build
from yolo_attn.host.row_arguments import read_arguments
from yolo_attn.host.said import say_once

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class RowSpec:
    """The checked block of one row, and the label of the row in error messages.

    Arguments without names are kept until the row's channels are known, on which their meaning depends.
    """

    label: str
    name: str
    cls: type[nn.Module]
    hyper: dict[str, Any]
    place: str | None = None
    index: int = 0
    called: str = ""
    arguments: tuple[Any, ...] = ()
    written: WrittenWidths | None = None

    def at(self, widths: list[int], source: int) -> RowSpec:
        """Return the spec with the hyper-parameters it has at the row's channels.

        Args:
            widths: Channels of the results of all rows before it; for the first row, of the image.
            source: The row's ``from``.
        """
        if self.written is None:
            return self
        found = self.written.of_input(self.index, source, widths)
        try:
            reading = read_arguments(self.cls, self.called, self.arguments, found)
        except YoloAttnError as error:
            raise like(error, f"{self.label}: {error}") from error
        if said := reading.said(self.name, self.arguments):
            say_once(f"{self.label}: {said}")
        return replace(self, hyper=reading.hyper, written=None)

    def build(self, channels: int) -> nn.Module:
        """Build the block for a number of channels; a user's own has to keep the shape of its input."""
        block = build(self.cls, channels, self.hyper, f"{self.label}: {self.name} for {channels} channels")
        if not self.cls.__module__.startswith("yolo_attn.blocks."):
            _check_keeps_shape(block, channels, self.label)
        return block


class RowArguments(list):
    """Arguments of a block's row: ``"ch"`` and ``"f"``, which the parser replaces by their values, and the row spec."""

    def __str__(self) -> str:  # as the parser prints them in its table
        widths, source, spec = self
        hyper = spec.at(widths, source).hyper
        return "[" + ", ".join([str(widths[source]), *(f"{k}={v!r}" for k, v in hyper.items())]) + "]"


class InsideArguments(list):
    """Arguments of the appended row: ``"layers"``, ``"ch"`` and the row specs by row number."""

    def __str__(self) -> str:
        specs = self[2]
        names = ", ".join(dict.fromkeys(spec.name for spec in specs.values()))
        return f"[{names} inside rows {', '.join(map(str, specs))}]"


def row_class(cls: type[nn.Module]) -> type:
    """Return the class that the parser calls for a row; its ``__new__`` returns the block itself."""
    from torch import nn

    def new(_, widths: list[int], source: int, spec: RowSpec) -> nn.Module:
        return spec.at(widths, source).build(widths[source])

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__new__": new}
    return type(cls.__name__, (nn.Module,), names)


def inside_class() -> type:
    """Return the class that the parser calls for the appended row, to put blocks inside the layers built so far."""
    from torch import nn

    from yolo_attn.host import gated

    def new(_, layers: list[nn.Module], widths: list[int], specs: Mapping[int, RowSpec]) -> nn.Module:
        made = []
        for i, spec in specs.items():
            try:
                made += gated.attach(layers[i], spec.place, widths[i], spec.build)
            except Exception as error:  # e.g. a host whose arguments build but cannot run
                text = str(error)
                raise like(error, text if text.startswith("row ") else f"{spec.label}: {text}") from error
            layer: Any = layers[i]
            layer.np = sum(p.numel() for p in layer.parameters())  # the parser counted before the block was added
        return nn.ModuleList(made)

    return type("Inside", (nn.Module,), {"__module__": "yolo_attn.host.row_classes", "__new__": new})


def _check_keeps_shape(block: nn.Module, channels: int, label: str) -> None:
    """Run a user's block; the random numbers it draws, which torch has for all threads, are drawn again after it."""
    import torch

    x = torch.zeros(1, channels, 16, 16)
    if x.is_meta:  # built for its shapes only; a block may depend on values
        return
    training = block.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            y = block.eval()(x)
    except Exception as error:
        raise like(error, f"{label}: {type(block).__name__} cannot run on {tuple(x.shape)}: {error}") from error
    block.train(training)
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        made = tuple(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
        raise YoloAttnError(
            f"{label}: {type(block).__name__} turned {tuple(x.shape)} into {made}; a block must keep its input's shape"
        )
