"""Shuffle attention (SA)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import gate, multiply
from yolo_attn.blocks.ops import shuffle as shuffled


class SA(AttentionBlock):
    """Rescale one half of every group's channels by channel gates, the other by spatial gates, and shuffle channels.

    In each of ``G`` groups, with halves ``x0`` and ``x1``: ``y0 = x0 * sigmoid(w mean_hw(x0) + b)`` and
    ``y1 = x1 * sigmoid(w' GN(x1) + b')``, one channel a group of the GroupNorm. Then the channels of both halves of all
    ``C`` channels alternate. ``w`` and ``w'`` start at 0, ``b`` and ``b'`` at 1; all groups share them. Unlike the
    paper, a width of which ``2 G`` is no divisor takes the largest number of groups below ``G`` that fits; one warning
    and ``repr`` say so. The number of channels has to be even.

    ``init="identity"``: with ``shuffle=False``, ``b`` and ``b'`` start at 0. The shuffle can be no identity: with it a
    scalar ``gamma``, initially 0, is added, and the block returns ``x + gamma * (block(x) - x)``.

    Args:
        channels: Channels ``C`` of input and output.
        groups: Number of groups ``G``.
        shuffle: Whether the channels are shuffled.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SA(64, groups=8)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", "https://arxiv.org/abs/2102.00240"
    )
    aliases = ("ShuffleAttention", "SALayer", "sa_layer")
    maps = ("channel half", "full half")
    variants = ({"groups": 2}, {"shuffle": False, "groups": 4})
    blends = True

    def __init__(self, channels: int, groups: int = 64, shuffle: bool = True, *, init: Init = "paper") -> None:
        super().__init__(channels, init, blends=shuffle)
        if channels % 2:
            raise ValueError(f"channels={channels} is odd and has no halves; give an even number, e.g. {channels + 1}")
        self.groups, self.shuffle = self.fit("groups", groups, channels // 2), shuffle
        width = channels // 2 // self.groups
        bias = 0.0 if init == "identity" and not shuffle else 1.0
        self.channel_weight = nn.Parameter(torch.zeros(width))
        self.channel_bias = nn.Parameter(torch.full((width,), bias))
        self.spatial_weight = nn.Parameter(torch.zeros(width))
        self.spatial_bias = nn.Parameter(torch.full((width,), bias))
        self.norm = nn.GroupNorm(width, width)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates of both halves, ``(N, C/2, 1, 1)`` and ``(N, C/2, H, W)``, group after group."""
        x0, x1 = self._halves(x)
        weight, bias = self.norm.weight.repeat(self.groups), self.norm.bias.repeat(self.groups)
        normalised = torch.group_norm(x1, self.channels // 2, weight, bias, self.norm.eps)
        channel = self._gate(x0.mean((2, 3), keepdim=True), self.channel_weight, self.channel_bias)
        return channel, self._gate(normalised, self.spatial_weight, self.spatial_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its gates, with shuffled channels."""
        channel, spatial = self.attention(x)
        y = multiply(x, self._joined(channel + torch.zeros_like(spatial), spatial))
        return shuffled(y, 2) if self.shuffle else y

    def _gate(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return gate(self._for_all(weight) * x + self._for_all(bias), self.scale)

    def _for_all(self, parameter: Tensor) -> Tensor:
        return parameter.repeat(self.groups).view(-1, 1, 1)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the second halves of the channels of all groups, ``(N, C/2, H, W)`` each."""
        n, channels, height, width = x.shape
        grouped = x.reshape(n, self.groups, channels // self.groups, height * width)
        first, second = (half.reshape(n, channels // 2, height, width) for half in grouped.chunk(2, 2))
        return first, second

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        """Return halves as ``_halves`` took them apart."""
        n, channels, height, width = first.shape
        halves = [half.reshape(n, self.groups, channels // self.groups, height * width) for half in (first, second)]
        return torch.cat(halves, 2).reshape(n, 2 * channels, height, width)
