"""The parts of a fused form of a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

Numbers = Sequence[float]


class Layout(NamedTuple):
    """Sizes and strides of a map as kernels read it: images, channels, positions."""

    images: int
    channels: int
    positions: int
    image: int
    channel: int
    position: int

    @classmethod
    def of(cls, x: Tensor) -> Layout:
        """Return the layout of ``(N, C, H, W)``, whose positions are one sequence in memory."""
        n, c, height, width = x.shape
        return cls(n, c, height * width, x.stride(0), x.stride(1), x.stride(3) if width > 1 else max(x.stride(2), 1))

    @property
    def strides(self) -> tuple[int, int, int]:
        """Strides of images, channels and positions."""
        return self.image, self.channel, self.position


class Form:
    """Compute a kind of block, and its gradients, by kernels.

    A form has no state: parameters and settings of the block are given to each call, so that one operator serves all.
    All calculations are in float32; gradients of parameters are float32.
    """

    blocks: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def refuses(block: Any, x: Tensor) -> str | None:
        """Return why this block or map is computed plainly; ``None`` where it is not."""
        return None

    @staticmethod
    def parameters(block: Any) -> list[Tensor]:
        """Return the parameters in the order of the kernels: by layer, weight and bias; missing ones are left out."""
        own = block._parameters
        found = [own[name] for name in ("weight", "bias") if own.get(name) is not None]
        for layer in block._modules.values():
            found += Form.parameters(layer)
        return found

    @staticmethod
    def settings(block: Any) -> list[float]:
        """Return the numbers that the kernels need."""
        raise NotImplementedError

    @staticmethod
    def outputs(x: Tensor, parameters: Sequence[Tensor], settings: Numbers) -> list[Tensor]:
        """Return the empty tensors that ``forward`` fills: the result, and what the gradient needs beside ``x``."""
        raise NotImplementedError

    @staticmethod
    def forward(x: Tensor, parameters: Sequence[Tensor], settings: Numbers, out: Sequence[Tensor]) -> None:
        """Fill ``out``."""
        raise NotImplementedError

    @staticmethod
    def backward(
        gy: Tensor, x: Tensor, saved: Sequence[Tensor], parameters: Sequence[Tensor], settings: Numbers, needs: bool
    ) -> list[Tensor]:
        """Return the gradient of ``x`` and of each parameter.

        Args:
            gy: Gradient of the result, with positions that are one sequence in memory.
            x: Map.
            saved: What ``forward`` filled beside the result.
            parameters: Parameters.
            settings: Numbers.
            needs: Whether gradients of the parameters are needed; else they may be missing.
        """
        raise NotImplementedError

    @staticmethod
    def update(block: Any, out: Sequence[Tensor]) -> None:
        """Update the buffers of the block after ``forward``, which has no side effects: running statistics."""


def small(x: Tensor, *shape: int) -> Tensor:
    """Return an empty float32 tensor on the device of ``x``."""
    return torch.empty(shape, dtype=torch.float32, device=x.device)
