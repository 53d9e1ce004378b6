"""Efficient Multi-scale Attention (EMA)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import gate, multiply_groups, strips, sum_groups


class EMA(AttentionBlock):
    """Rescale each position of each channel group by a gate from two branches that weigh each other.

    In each of ``G`` groups of ``d = C / G`` channels ``g``: ``a = conv1x1([mean_w(g), mean_h(g)])``, split into ``a_h``
    and ``a_w``; ``x1 = GN(g * sigmoid(a_h) * sigmoid(a_w))``, one channel a group; ``x2 = conv3x3(g)``;
    ``w = softmax_d(mean_hw(x1)) . x2 + softmax_d(mean_hw(x2)) . x1``; ``y = g * sigmoid(w)``. All groups share the
    layers, which have biases. ``G`` is the authors' ``factor``, 32; most copies in YOLO models have 8. Unlike the
    paper, a width which it does not divide takes the largest number of groups below it that does; one warning and
    ``repr`` say so.

    ``init="identity"``: weight and bias of the GroupNorm and of the 3x3 convolution start at 0.

    Args:
        channels: Channels ``C`` of input and output.
        factor: Number of groups ``G``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> EMA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "Efficient Multi-Scale Attention Module with Cross-Spatial Learning", "https://arxiv.org/abs/2305.13563"
    )
    aliases = ("EMA_attention", "EMAAttention", "EMA_Attention")
    maps = ("groups",)
    variants = ({"factor": 8},)
    fused = "ema:EMA"

    def __init__(self, channels: int, factor: int = 32, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.groups = self.fit("factor", factor)
        width = channels // self.groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.norm = nn.GroupNorm(width, width)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        if init == "identity":
            zero_(self.norm, self.conv3x3)

    def attention(self, x: Tensor) -> Tensor:
        """Return the gate of each group ``(N, G, H, W)``."""
        rows, columns = strips(x)
        a = torch.cat((rows, columns.transpose(2, 3)), dim=2)  # (N, C, H+W, 1)
        a_h, a_w = torch.sigmoid(self._in_groups(a, self.conv1x1)).split_with_sizes((x.shape[2], x.shape[3]), 2)
        x1 = self._normalised(x * a_h.to(x.dtype) * a_w.transpose(2, 3).to(x.dtype))  # (N, C, H, W)
        x2 = self._in_groups(x, self.conv3x3)  # (N, C, H, W)
        w = sum_groups(self._weights(x1) * x2 + self._weights(x2) * x1, self.groups, self.norm.num_channels)
        return gate(w, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times the gate of each group."""
        return multiply_groups(x, self.attention(x), self.groups, self.norm.num_channels)

    def _in_groups(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        """Apply one convolution to every group."""
        weight, bias = layer.weight.repeat(self.groups, 1, 1, 1), self._repeated(layer.bias)
        return F.conv2d(x, weight, bias, padding=layer.kernel_size[0] // 2, groups=self.groups)

    def _normalised(self, x: Tensor) -> Tensor:
        weight, bias = self._repeated(self.norm.weight), self._repeated(self.norm.bias)
        return torch.group_norm(x, self.channels, weight, bias, self.norm.eps)

    def _repeated(self, parameter: Tensor | None) -> Tensor | None:
        return None if parameter is None else parameter.repeat(self.groups)

    def _weights(self, x: Tensor) -> Tensor:
        """Return ``softmax_d(mean_hw(x))`` within the groups, ``(N, C, 1, 1)``."""
        means = x.mean((2, 3), keepdim=True)
        return means.view(x.shape[0], self.groups, self.norm.num_channels, 1).softmax(2).view(means.shape)
