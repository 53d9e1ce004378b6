"""Large Selective Kernel (LSK) attention of LSKNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, one_
from yolo_attn.blocks.ops import depthwise, max_c, multiply


class LSK(AttentionBlock):
    """Multiply each value by a factor from a small and a large neighbourhood, chosen by a gate at every position.

    ``u1 = DW5(x)`` and ``u2 = DW7(u1)`` with dilation 3 are depthwise convolutions, ``a1 = W1 u1`` and ``a2 = W2 u2``
    1x1 convolutions to half of the channels; ``[s1, s2] = sigmoid(conv7([mean_c, max_c] of [a1, a2]))`` and
    ``y = x * W(a1 * s1 + a2 * s2)``, Eqs. 1-8. All convolutions have biases. ``W`` is no gate: the factor takes either
    sign and has no bound. As published it is near 0 at first, which hides the features of a pretrained network.

    ``init="identity"``: ``W`` starts at 0 with bias 1.

    Args:
        channels: Channels ``C`` of input and output.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> LSK(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "Large Selective Kernel Network for Remote Sensing Object Detection", "https://arxiv.org/abs/2303.09030"
    )
    aliases = ("LSKblock", "LSKBlock", "LSKModule")
    maps = ("kernels",)

    def __init__(self, channels: int, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        half = max(channels // 2, 1)
        self.small = depthwise(channels, 5, 5)
        self.large = depthwise(channels, 7, 7, dilation=3)
        self.reduce_small = nn.Conv2d(channels, half, 1)
        self.reduce_large = nn.Conv2d(channels, half, 1)
        self.select = nn.Conv2d(2, 2, 7, padding=3)
        self.proj = nn.Conv2d(half, channels, 1)
        if init == "identity":
            one_(self.proj)

    @property
    def tops(self) -> tuple[float | None, ...]:
        """Upper end of the gates' range, under either ``init``."""
        return (1.0,)

    def attention(self, x: Tensor) -> Tensor:
        """Return the gates of the small and of the large kernel ``(N, 2, H, W)``."""
        return self._gates(*self._features(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times the factor from the gated features."""
        small, large = self._features(x)
        gates = self._gates(small, large)
        return multiply(x, self.proj(small * gates[:, :1] + large * gates[:, 1:]))

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the small and of the large kernel, ``(N, C/2, H, W)`` each."""
        u = self.small(x)
        return self.reduce_small(u), self.reduce_large(self.large(u))

    def _gates(self, small: Tensor, large: Tensor) -> Tensor:
        mean = (small.mean(1, keepdim=True) + large.mean(1, keepdim=True)) / 2
        pooled = torch.cat((mean, torch.maximum(max_c(small), max_c(large))), 1)  # (N, 2, H, W)
        return torch.sigmoid(self.select(pooled))
