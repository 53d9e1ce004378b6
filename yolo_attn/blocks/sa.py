"""Shuffle attention (SA)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import gate, is_channels_last, is_exported
from yolo_attn.blocks.ops import shuffle as shuffled


class SA(AttentionBlock):
    """Rescale one half of every group's channels by channel gates, the other by spatial gates, and shuffle channels.

    In each of ``G`` groups, with halves ``x0`` and ``x1``: ``y0 = x0 * sigmoid(w mean_hw(x0) + b)`` and
    ``y1 = x1 * sigmoid(w' GN(x1) + b')``, one channel a group of the GroupNorm. Then the channels of both halves of all
    ``C`` channels alternate. ``w`` and ``w'`` start at 0, ``b`` and ``b'`` at 1; all groups share them. Unlike the
    paper, a width of which ``2 G`` is no divisor takes the largest number of groups below ``G`` that fits; one warning
    and ``repr`` say so. The number of channels has to be even. Most copies have 8 groups; they fail
    on channels-last maps.

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
    public: ClassVar = {"ShuffleAttention": ("reduction=16", "groups")}
    maps = ("channel half", "full half")
    variants = ({"groups": 2}, {"shuffle": False, "groups": 4})
    fused = "own:SA"
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
        return self._gates(*self._halves(x), x.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its gates, with shuffled channels."""
        first, second = self._halves(x)
        channel, spatial = (g.to(x.dtype) for g in self._gates(first, second, x.shape))
        channel = channel.view(*first.shape[:3], *[1] * (first.dim() - 3))
        y = torch.cat((first * channel, second * spatial.view(second.shape)), 2).reshape(x.shape)
        y = shuffled(y, 2) if self.shuffle else y
        return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y

    def _gates(self, first: Tensor, second: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        n, half, height, width = shape[0], self.channels // 2, shape[2], shape[3]
        means = first.mean(tuple(range(3, first.dim()))).view(n, half, 1, 1)
        channel = self._for_all(self.channel_weight).view(-1, 1, 1) * means
        channel = channel + self._for_all(self.channel_bias).view(-1, 1, 1)
        weight = self._for_all(self.spatial_weight * self.norm.weight)  # both scales and shifts in one
        bias = self._for_all(self.spatial_weight * self.norm.bias + self.spatial_bias)
        spatial = torch.group_norm(second.reshape(n, half, height, width), half, weight, bias, self.norm.eps)
        return gate(channel, self.scale), gate(spatial, self.scale)

    def _for_all(self, parameter: Tensor) -> Tensor:
        return parameter.repeat(self.groups)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return first and second half of the channels of all groups, ``(N, G, C/2G, H, W)``, exported with ``HW``."""
        n, _, height, width = x.shape
        sizes = (height * width,) if is_exported() else (height, width)
        first, second = x.reshape(n, self.groups, self.channels // self.groups, *sizes).chunk(2, 2)
        return first, second
