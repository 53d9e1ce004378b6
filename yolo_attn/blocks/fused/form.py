"""A fused form of a kind of block, and a pass of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Numbers = Sequence[float]
Gradients = Sequence[Tensor | None]


class Call:
    """A pass by kernels, forward or backward.

    Attributes:
        maps: ``x`` and ``y``; backward ``x``, ``gy`` and ``gx``. The last is filled.
        saved: What the forward pass fills beside ``y`` and the backward pass reads, in float32.
        parameters: Those of the block, ``None`` for missing ones.
        settings: Numbers of the block; all are floats under ``torch.compile``.
        needs: Whether the gradients of the parameters are needed.
        images: Batch size.
        channels: Channels.
        positions: Height times width; they are one sequence in memory.
        strides: For each map those of images, channels and positions.
    """

    __slots__ = ("channels", "images", "maps", "needs", "parameters", "positions", "saved", "settings", "strides", "x")

    def __init__(
        self, maps: tuple[Tensor, ...], saved: Any, parameters: Any, settings: Numbers, needs: bool = False
    ) -> None:
        self.maps, self.saved, self.parameters, self.settings, self.needs = maps, saved, parameters, settings, needs
        self.x = maps[0]
        self.images, self.channels, height, width = self.x.shape
        self.positions = height * width
        self.strides: tuple[int, ...] = ()
        for n, c, h, w in (t.stride() for t in maps):
            self.strides += (n, c, w if width > 1 else max(h, 1))

    def new(self, *shape: int) -> Tensor:
        """Return an empty float32 tensor on the device of the map."""
        return small(self.x, *shape)


def small(x: Tensor, *shape: int) -> Tensor:
    """Return an empty float32 tensor on the device of ``x``."""
    return torch.empty(shape, dtype=torch.float32, device=x.device)


def parameters_of(block: Any) -> list[Tensor | None]:
    """Return weight and bias of a block and of each layer inside, ``None`` for a missing one."""
    found = [block._parameters[name] for name in ("weight", "bias") if name in block._parameters]
    for layer in block._modules.values():
        found += parameters_of(layer)
    return found


@dataclass
class Form:
    """Compute a kind of block, and its gradients, by kernels.

    A form has no state: parameters and settings of the block are given to each call, so that one operator serves all.
    All calculations are in float32.

    Attributes:
        forward: Fills ``y`` and what is saved.
        backward: Fills ``gx``, and returns the gradients of the parameters in float32 where they are needed.
        saved: Returns the shapes of what is saved, of the map, the parameters and the settings.
        settings: Returns the numbers of a block that the kernels need.
        parameters: Returns the parameters of a block in the order of the kernels, and buffers behind them.
        refuses: Returns why a block or map is computed plainly; ``None`` where it is not.
        update: Updates running statistics of a block by what was saved, as ``forward`` has no side effects.
    """

    forward: Callable[[Call], None]
    backward: Callable[[Call], Gradients]
    saved: Callable[[Tensor, Any, Numbers], list[tuple[int, ...]]] = lambda x, parameters, settings: []
    settings: Callable[[Any], list[float]] = lambda block: [block.scale]
    parameters: Callable[[Any], list[Tensor | None]] = parameters_of
    refuses: Callable[[Any, Tensor], str | None] = lambda block, x: None
    update: Callable[[Any, Sequence[Tensor]], None] | None = None
