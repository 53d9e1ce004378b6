"""Tutorial forms of EMA and SA: groups folded into the batch."""
# ruff: noqa: D102 - forward methods are equivalent to those of the blocks

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn import blocks


class TutorialEMA(nn.Module):
    """EMA: groups in the batch, adaptive strip pooling, two products of matrices."""

    def __init__(self, block: blocks.EMA) -> None:
        super().__init__()
        self.groups = block.groups
        c = block.channels // self.groups
        self.softmax = nn.Softmax(-1)
        self.agp = nn.AdaptiveAvgPool2d((1, 1))
        self.pool_h = nn.AdaptiveAvgPool2d((None, 1))
        self.pool_w = nn.AdaptiveAvgPool2d((1, None))
        self.conv1x1 = nn.Conv2d(c, c, kernel_size=1)
        self.gn = nn.GroupNorm(c, c)
        self.conv3x3 = nn.Conv2d(c, c, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        group_x = x.reshape(b * self.groups, -1, h, w)  # (b g, c/g, h, w)
        x_h = self.pool_h(group_x)
        x_w = self.pool_w(group_x).permute(0, 1, 3, 2)
        hw = self.conv1x1(torch.cat([x_h, x_w], dim=2))
        x_h, x_w = torch.split(hw, [h, w], dim=2)
        x1 = self.gn(group_x * x_h.sigmoid() * x_w.permute(0, 1, 3, 2).sigmoid())
        x2 = self.conv3x3(group_x)
        x11 = self.softmax(self.agp(x1).reshape(b * self.groups, -1, 1).permute(0, 2, 1))
        x12 = x2.reshape(b * self.groups, c // self.groups, -1)  # (b g, c/g, hw)
        x21 = self.softmax(self.agp(x2).reshape(b * self.groups, -1, 1).permute(0, 2, 1))
        x22 = x1.reshape(b * self.groups, c // self.groups, -1)
        weights = (torch.matmul(x11, x12) + torch.matmul(x21, x22)).reshape(b * self.groups, 1, h, w)
        return (group_x * weights.sigmoid()).reshape(b, c, h, w)


class TutorialSA(nn.Module):
    """SA: groups in the batch, halves, both gates, concatenation, shuffle."""

    def __init__(self, block: blocks.SA) -> None:
        super().__init__()
        self.groups, self.shuffles = block.groups, block.shuffle
        width = block.channels // (2 * self.groups)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.cweight = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.cbias = nn.Parameter(torch.ones(1, width, 1, 1))
        self.sweight = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.sbias = nn.Parameter(torch.ones(1, width, 1, 1))
        self.gn = nn.GroupNorm(width, width)
        self.sigmoid = nn.Sigmoid()

    @staticmethod
    def channel_shuffle(x: Tensor, groups: int) -> Tensor:
        b, _, h, w = x.shape
        return x.reshape(b, groups, -1, h, w).permute(0, 2, 1, 3, 4).reshape(b, -1, h, w)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        x_0, x_1 = x.reshape(b * self.groups, -1, h, w).chunk(2, dim=1)
        x_channel = x_0 * self.sigmoid(self.cweight * self.avg_pool(x_0) + self.cbias)
        x_spatial = x_1 * self.sigmoid(self.sweight * self.gn(x_1) + self.sbias)
        out = torch.cat([x_channel, x_spatial], dim=1).reshape(b, -1, h, w)
        return self.channel_shuffle(out, 2) if self.shuffles else out


TUTORIALS: dict[type[nn.Module], type[nn.Module]] = {
    blocks.EMA: TutorialEMA,
    blocks.SA: TutorialSA,
}
"""The tutorial forms by the class of their block."""
