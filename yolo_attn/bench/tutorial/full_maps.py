"""Tutorial forms of SimAM, GAM and BAM."""
# ruff: noqa: D102 - forward methods are equivalent to those of the blocks

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn import blocks


class TutorialSimAM(nn.Module):
    """SimAM: powers, and the energy in one expression."""

    def __init__(self, block: blocks.SimAM) -> None:
        super().__init__()
        self.e_lambda = block.eps
        self.activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        n = w * h - 1
        square = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        y = square / (4 * (square.sum(dim=[2, 3], keepdim=True) / n + self.e_lambda)) + 0.5
        return x * self.activation(y)


class TutorialGAM(nn.Module):
    """GAM: linear layers on permuted positions, two convolutions with norms."""

    def __init__(self, block: blocks.GAM) -> None:
        super().__init__()
        c, hidden = block.channels, block.squeeze.out_features
        self.groups, self.channel_sigmoid, self.shuffle = block.groups, block.channel_sigmoid, block.shuffle
        self.channel_attention = nn.Sequential(nn.Linear(c, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, c))
        self.conv1 = nn.Conv2d(c, hidden, kernel_size=7, padding=3, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(hidden, c, kernel_size=7, padding=3, groups=self.groups)
        self.bn2 = nn.BatchNorm2d(c)

    def channel_shuffle(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        x = x.reshape(b, self.groups, c // self.groups, h, w)
        return torch.transpose(x, 1, 2).contiguous().view(b, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x_permute = x.permute(0, 2, 3, 1).reshape(b, -1, c)
        x_channel_att = self.channel_attention(x_permute).view(b, h, w, c).permute(0, 3, 1, 2)
        x = x * (x_channel_att.sigmoid() if self.channel_sigmoid else x_channel_att)
        out = self.relu(self.bn1(self.conv1(x)))
        if self.groups > 1 and self.shuffle == "hidden":
            out = self.channel_shuffle(out)
        out = self.bn2(self.conv2(out)).sigmoid()
        if self.groups > 1 and self.shuffle == "gate":
            out = self.channel_shuffle(out)
        return x * out


class TutorialBAM(nn.Module):
    """BAM: both terms expanded to the whole map, then added or multiplied."""

    def __init__(self, block: blocks.BAM) -> None:
        super().__init__()
        self.combine = block.combine
        c, hidden, dilation = block.channels, block.squeeze.out_features, block.conv1.dilation[0]
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc0 = nn.Conv2d(c, hidden, kernel_size=1)
        self.bn = nn.BatchNorm2d(hidden)
        self.fc1 = nn.Conv2d(hidden, c, kernel_size=1)
        layers: list[nn.Module] = [nn.Conv2d(c, hidden, kernel_size=1), nn.BatchNorm2d(hidden), nn.ReLU()]
        for _ in range(2):
            conv = nn.Conv2d(hidden, hidden, kernel_size=3, padding=dilation, dilation=dilation)
            layers += [conv, nn.BatchNorm2d(hidden), nn.ReLU()]
        self.sa = nn.Sequential(*layers, nn.Conv2d(hidden, 1, kernel_size=1))
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        ca_out = self.fc1(torch.relu(self.bn(self.fc0(self.avgpool(x))))).expand_as(x)
        sa_out = self.sa(x).expand_as(x)
        weight = self.sigmoid(sa_out + ca_out if self.combine == "add" else sa_out * ca_out)
        return (1 + weight) * x


TUTORIALS: dict[type[nn.Module], type[nn.Module]] = {
    blocks.SimAM: TutorialSimAM,
    blocks.GAM: TutorialGAM,
    blocks.BAM: TutorialBAM,
}
"""The tutorial forms by the class of their block."""
