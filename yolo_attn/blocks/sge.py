"""Spatial Group-wise Enhance (SGE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.blocks._checks import check_divides
from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import gate, is_exported, multiply_groups, no_autocast, other_positions, sum_groups


class SGE(AttentionBlock):
    """Rescale each position of each channel group by its similarity to the group's global average.

    ``t_i = mean_hw(x) . x_i`` within a group, ``t = (t - mean_i(t)) / (std_i(t) + 1e-5)`` with the unbiased deviation
    as in the authors' release, ``y_i = x_i * sigmoid(weight * t_i + bias)``; weight and bias per group, starting at 0
    and 1. Unlike the paper, which uses 64 groups, the default is 8, which divides the usual widths. The similarity is
    computed in float32 for half precision, and the deviation of a single position (a 1x1 map) is 0. Most copies start
    with a bias of 0, and fail on channels-last maps.

    ``init="identity"``: weight and bias start at 0.

    Args:
        channels: Channels ``C`` of input and output.
        groups: Number of groups ``G``; has to divide ``channels``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SGE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
        "https://arxiv.org/abs/1905.09646",
    )
    aliases = ("SpatialGroupEnhance", "SpatialGroupWiseEnhance", "SGEAttention")
    maps = ("groups",)
    variants = ({"groups": 4},)
    fused = "sge:SGE"

    def __init__(self, channels: int, groups: int = 8, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.groups = check_divides("groups", groups, channels)
        self.weight = nn.Parameter(torch.zeros(groups))
        self.bias = nn.Parameter(torch.full((groups,), 0.0 if init == "identity" else 1.0))

    def attention(self, x: Tensor) -> Tensor:
        """Return the gate of each group ``(N, G, H, W)``."""
        if is_exported():
            return self._exported_gates(x)
        return self._gates(self._grouped(x), x.dtype).view(x.shape[0], self.groups, *x.shape[2:])

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times the gate of each group."""
        if is_exported():
            return multiply_groups(x, self._exported_gates(x), self.groups, self.channels // self.groups)
        groups = self._grouped(x)
        gates = self._gates(groups, x.dtype)
        if x.is_contiguous():
            return (groups * gates.view(-1, 1, gates.shape[2])).view(x.shape)
        grouped = x.view(x.shape[0], self.groups, -1, *x.shape[2:])
        return (grouped * gates.view(*gates.shape[:2], 1, *x.shape[2:])).flatten(1, 2)

    def _grouped(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        return x.reshape(n * self.groups, channels // self.groups, height * width)

    def _gates(self, groups: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the gates ``(N, G, HW)`` of groups ``(NG, C/G, HW)``."""
        positions = groups.shape[2]
        with no_autocast(groups.device.type):
            wide = groups if dtype == torch.float64 else groups.float()
            t = torch.bmm(wide.mean(2, keepdim=True).transpose(1, 2), wide).view(-1, self.groups, positions)
            t = t - t.mean(2, keepdim=True)
            std = torch.linalg.vector_norm(t, dim=2, keepdim=True) / max(positions - 1, 1) ** 0.5  # faster than std
            t = torch.addcmul(self.bias.unsqueeze(1), t, self.weight.unsqueeze(1) / (std + 1e-5))
        return gate(t, self.scale).to(dtype)

    def _exported_gates(self, x: Tensor) -> Tensor:
        """Return the gates ``(N, G, H, W)`` by operations in four dimensions."""
        wide = x if x.dtype == torch.float64 else x.float()
        products = wide * wide.mean((2, 3), keepdim=True)
        t = sum_groups(products, self.groups, self.channels // self.groups)
        t = t - t.mean((2, 3), keepdim=True)
        std = torch.linalg.vector_norm(t, dim=(2, 3), keepdim=True) / other_positions(t) ** 0.5
        weight, bias = self.weight.view(-1, 1, 1), self.bias.view(-1, 1, 1)
        return gate(t * (weight / (std + 1e-5)) + bias, self.scale)
