"""Effective Squeeze-Excitation (eSE)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import pointwise


class ESE(AttentionBlock):
    """Rescale each channel by a gate computed from the global averages of all channels, without a bottleneck.

    ``y = x * h(W mean_hw(x) + b)`` with ``h(z) = min(max(z + 3, 0), 6) / 6``.

    ``init="identity"``: ``W`` and ``b`` start at 0.

    Args:
        channels: Channels ``C`` of input and output.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> ESE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("CenterMask: Real-Time Anchor-Free Instance Segmentation", "https://arxiv.org/abs/1911.06667")
    aliases = ("eSE", "EffectiveSE", "EffectiveSEModule", "eSEModule", "EffectiveSELayer")
    public: ClassVar = {"EffectiveSELayer": ("act=hardsigmoid",)}
    maps = ("channel",)

    def __init__(self, channels: int, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.fc = nn.Linear(channels, channels)
        if init == "identity":
            zero_(self.fc)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``."""
        z = pointwise(x.mean((2, 3), keepdim=True), self.fc)
        return self.scale * (z + 3).clamp(0, 6) / 6  # torch's own has an inexact gradient in float64
