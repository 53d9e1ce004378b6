"""Global Context (GC) block."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import context, gate, pointwise


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
        z = pointwise(context, self.down)  # (N, hidden, 1, 1), normalised over its channels as one group
        z = torch.group_norm(z, 1, self.norm.weight, self.norm.bias, self.norm.eps)
        return pointwise(z.relu(), self.up)


class GC(AttentionBlock):
    """Add to every position one vector computed from the global context (or scale every position by it).

    ``c = sum_j softmax_j(Wk x_j) x_j`` and ``y = x + W2 relu(LN(W1 c))``. With ``pooling="avg"`` the context is
    the plain mean and there is no ``Wk``. With ``fusion="mul"`` the transform is a gate, ``y = x * sigmoid(...)``, and
    ``"add+mul"`` does both with two transforms, ``y = x * sigmoid(mul) + add``. Unlike the paper, the hidden width
    has a floor (``min_hidden``): a LayerNorm over very few values carries little, over one value nothing.

    As in the authors' release the last layer of each transform starts at 0, so that ``fusion="add"`` starts as the
    identity under either ``init``. ``init="identity"`` only changes the gate of the other two.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        pooling: ``"attention"`` or ``"avg"``.
        fusion: ``"add"``, ``"mul"`` or ``"add+mul"``.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> GC(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", "https://arxiv.org/abs/1904.11492"
    )
    aliases = ("GlobalContext", "GlobalContextBlock", "ContextBlock", "gc_block")
    maps = ("weights",)
    variants = ({"pooling": "avg"}, {"fusion": "mul"}, {"fusion": "add+mul"})
    fused = "channel:GC"

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
        super().__init__(channels, init)
        hidden = max(channels // reduction, min_hidden)
        self.pooling, self.fusion = pooling, fusion
        self.mask = nn.Conv2d(channels, 1, 1) if pooling == "attention" else None
        self.add_transform = _Transform(channels, hidden) if "add" in fusion else None
        self.mul_transform = _Transform(channels, hidden) if "mul" in fusion else None

    def attention(self, x: Tensor) -> Tensor:
        """Return the pooling weights ``(N, 1, H, W)``, summing to 1 over positions (uniform with ``"avg"``)."""
        if self.mask is None:
            return torch.full_like(x[:, :1], 1 / (x.shape[2] * x.shape[3]))
        return context(x, self.mask)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` fused with its transformed context."""
        c = x.mean((2, 3), keepdim=True) if self.mask is None else context(x, self.mask)[0]  # (N, C, 1, 1)
        if self.mul_transform is not None:
            x = x * gate(self.mul_transform(c), self.scale).to(x.dtype)
        if self.add_transform is not None:
            x = x + self.add_transform(c).to(x.dtype)
        return x
