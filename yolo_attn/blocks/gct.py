"""Gated Channel Transformation (GCT)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper


class GCT(AttentionBlock):
    """Rescale each channel by its norm relative to the others, so that channels compete or cooperate.

    ``y = x * (1 + tanh(gamma * s / n + beta))`` with one ``alpha``, ``gamma`` and ``beta`` per channel. ``"l2"``:
    ``s = alpha * sqrt(sum_hw(x^2) + eps)`` and ``n = sqrt(mean_c(s^2) + eps)``, Eqs. 2-4. ``"l1"``:
    ``s = alpha * sum_hw(|x|)`` and ``n = mean_c(|s|) + eps``. The sums are computed in float32 for half precision.

    ``alpha`` starts at 1, ``gamma`` and ``beta`` at 0, so that either ``init`` is the identity at first.

    Args:
        channels: Channels ``C`` of input and output.
        mode: ``"l2"`` or ``"l1"``.
        eps: Added to what is divided by.
        init: ``"paper"`` or ``"identity"``; the same here.

    Example:
        >>> GCT(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("Gated Channel Transformation for Visual Recognition", "https://arxiv.org/abs/1909.11519")
    aliases = ("GCTBlock", "GatedChannelTransform", "GatedChannelTransformation")
    maps = ("channel",)
    variants = ({"mode": "l1"},)
    positive = ("eps",)

    def __init__(
        self, channels: int, mode: Literal["l2", "l1"] = "l2", eps: float = 1e-5, *, init: Init = "paper"
    ) -> None:
        super().__init__(channels, init)
        self.mode, self.eps = mode, eps
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    @property
    def tops(self) -> tuple[float | None, ...]:
        """Upper end of the gate's range."""
        return (2.0,)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``, in (0, 2)."""
        wide = x if x.dtype == torch.float64 else x.float()
        if self.mode == "l2":
            s = self.alpha * (wide.square().sum((2, 3), keepdim=True) + self.eps).sqrt()
            n = (s.square().mean(1, keepdim=True) + self.eps).sqrt()
        else:
            s = self.alpha * wide.abs().sum((2, 3), keepdim=True)
            n = s.abs().mean(1, keepdim=True) + self.eps
        return 1 + torch.tanh(self.gamma * s / n + self.beta)
