"""Global Context (GC) block.

Paper: Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV Workshops 2019,
https://arxiv.org/abs/1904.11492
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks._common import INITS, Init, as_map, check_choice, check_int, gate, gate_scale, is_exported, zero_
from yolo_attn.blocks._exported import layer_norm, pointwise
from yolo_attn.blocks._recalibrate import recalibrate
from yolo_attn.blocks._statistics import context, mean_hw
from yolo_attn.blocks._writes import add, multiply, scale_and_shift

_WRITES = {"add": add, "mul": multiply, "add+mul": scale_and_shift}


class _Transform(nn.Module):
    """Bottleneck transform of the context, ``W2 relu(LN(W1 c))``; ``W2`` and its bias start at 0."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, channels)
        zero_(self.up)

    def forward(self, context: Tensor) -> Tensor:
        """Map ``(N, C, 1, 1)`` to ``(N, C, 1, 1)``."""
        if is_exported():
            return pointwise(torch.relu(layer_norm(pointwise(context, self.down), self.norm)), self.up)
        return as_map(self.up(torch.relu(self.norm(self.down(context.flatten(1))))))


class GC(nn.Module):
    """Add to every position one vector computed from the global context (or scale every position by it).

    ``c = sum_j softmax_j(Wk x_j) x_j`` and ``y = x + W2 relu(LN(W1 c))``. With ``pooling="avg"`` the context is
    the plain mean and there is no ``Wk``. With ``fusion="mul"`` the transform is a gate, ``y = x * sigmoid(...)``, and
    ``"add+mul"`` does both with two transforms, ``y = x * sigmoid(mul) + add``. Unlike the paper, the hidden width
    has a floor (``min_hidden``): a LayerNorm over very few values carries little, over one value nothing.

    As in the authors' release the last layer of each transform starts at 0, so that ``fusion="add"`` starts as the
    identity under either ``init``. ``init="identity"`` only changes the gate of the other two, to ``2 * sigmoid``, in
    (0, 2), hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        pooling: ``"attention"`` or ``"avg"``.
        fusion: ``"add"``, ``"mul"`` or ``"add+mul"``.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> GC(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        pooling: Literal["attention", "avg"] = "attention",
        fusion: Literal["add", "mul", "add+mul"] = "add",
        min_hidden: int = 8,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        hidden = max(channels // check_int("reduction", reduction), check_int("min_hidden", min_hidden))
        self.pooling = check_choice("pooling", pooling, ("attention", "avg"))
        self.fusion = check_choice("fusion", fusion, ("add", "mul", "add+mul"))
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.mask = nn.Conv2d(channels, 1, 1) if pooling == "attention" else None
        self.add_transform = _Transform(channels, hidden) if "add" in fusion else None
        self.mul_transform = _Transform(channels, hidden) if "mul" in fusion else None

    def attention(self, x: Tensor) -> Tensor:
        """Return the pooling weights ``(N, 1, H, W)``, summing to 1 over positions (uniform with ``"avg"``)."""
        if self.mask is None:
            return torch.full_like(x[:, :1], 1.0) / (x.shape[2] * x.shape[3])  # (N, 1, H, W)
        return context(x, self.mask.weight, self.mask.bias)[1]  # (N, 1, H, W)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` fused with its transformed context."""
        write = _WRITES[self.fusion]
        if self.mask is None:
            return recalibrate(x, mean_hw, self._smalls, write=write)
        return recalibrate(x, context, self._smalls, self.mask.weight, self.mask.bias, write=write)

    def _smalls(self, context: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        """Return the gate, the term, or both, ``(N, C, 1, 1)`` each."""
        smalls = []
        if self.mul_transform is not None:
            smalls.append(gate(self.mul_transform(context), self.scale))
        if self.add_transform is not None:
            smalls.append(self.add_transform(context))
        return tuple(smalls)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, pooling={self.pooling}, fusion={self.fusion}, init={self.init}"
