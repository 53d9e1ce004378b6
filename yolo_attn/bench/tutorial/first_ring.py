"""Tutorial forms of SE, ECA, GC, NL, SNL, CA, CBAM, cSE, sSE, scSE, ELA, SGE and GCT."""
# ruff: noqa: D102 - forward methods are equivalent to those of the blocks

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn import blocks


class TutorialSE(nn.Module):
    """SE and cSE: pool, two linear layers, expand."""

    def __init__(self, block: blocks.SE | blocks.CSE) -> None:
        super().__init__()
        channels, hidden, bias = block.channels, block.squeeze.out_features, block.squeeze.bias is not None
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=bias),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class TutorialECA(nn.Module):
    """ECA: pool, a 1-D convolution over the transposed channels, expand."""

    def __init__(self, block: blocks.ECA) -> None:
        super().__init__()
        k, bias = block.kernel_size, block.conv.bias is not None
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel_size=k, padding=(k - 1) // 2, bias=bias)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y = self.avg_pool(x)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * self.sigmoid(y).expand_as(x)


class TutorialGC(nn.Module):
    """GC: a convolution to one channel, softmax, one matrix product, convolutions on a 1x1 map."""

    def __init__(self, block: blocks.GC) -> None:
        super().__init__()
        channels = block.channels
        self.fusion = block.fusion
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_mask = nn.Conv2d(channels, 1, kernel_size=1) if block.mask is not None else None
        self.softmax = nn.Softmax(dim=2)

        def transform(hidden: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, hidden, kernel_size=1),
                nn.LayerNorm([hidden, 1, 1]),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden, channels, kernel_size=1),
            )

        add, mul = block.add_transform, block.mul_transform
        self.channel_add_conv = transform(add.down.out_features) if add is not None else None
        self.channel_mul_conv = transform(mul.down.out_features) if mul is not None else None

    def spatial_pool(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        if self.conv_mask is None:
            return self.avg_pool(x)
        mask = self.softmax(self.conv_mask(x).reshape(b, 1, h * w)).unsqueeze(-1)  # (b, 1, hw, 1)
        return torch.matmul(x.reshape(b, c, h * w).unsqueeze(1), mask).view(b, c, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        context = self.spatial_pool(x)
        out = x
        if self.channel_mul_conv is not None:
            out = out * torch.sigmoid(self.channel_mul_conv(context))
        if self.channel_add_conv is not None:
            out = out + self.channel_add_conv(context)
        return out


class TutorialNL(nn.Module):
    """NL: three convolutions, the whole matrix of pairs, softmax, the products."""

    def __init__(self, block: blocks.NL) -> None:
        super().__init__()
        channels, self.inter_channels, self.mode = block.channels, block.theta.out_channels, block.mode
        self.theta = nn.Conv2d(channels, self.inter_channels, kernel_size=1)
        self.phi = nn.Conv2d(channels, self.inter_channels, kernel_size=1)
        self.g = nn.Conv2d(channels, self.inter_channels, kernel_size=1)
        self.W = nn.Conv2d(self.inter_channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.size()
        g_x = self.g(x).reshape(b, self.inter_channels, -1).permute(0, 2, 1)  # (b, hw, inter)
        theta_x = self.theta(x).reshape(b, self.inter_channels, -1).permute(0, 2, 1)  # (b, hw, inter)
        phi_x = self.phi(x).reshape(b, self.inter_channels, -1)  # (b, inter, hw)
        f = torch.matmul(theta_x, phi_x)  # (b, hw, hw)
        f = F.softmax(f, dim=-1) if self.mode == "embedded_gaussian" else f / f.size(-1)
        y = torch.matmul(f, g_x).permute(0, 2, 1).contiguous()  # (b, inter, hw)
        return self.W(y.view(b, self.inter_channels, h, w)) + x


class TutorialSNL(nn.Module):
    """SNL: a convolution to one channel, softmax, one matrix product, a convolution on a 1x1 map."""

    def __init__(self, block: blocks.SNL) -> None:
        super().__init__()
        self.conv_mask = nn.Conv2d(block.channels, 1, kernel_size=1)
        self.conv_value = nn.Conv2d(block.channels, block.channels, kernel_size=1)
        self.softmax = nn.Softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        mask = self.softmax(self.conv_mask(x).reshape(b, 1, h * w)).unsqueeze(-1)  # (b, 1, hw, 1)
        context = torch.matmul(x.reshape(b, c, h * w).unsqueeze(1), mask).view(b, c, 1, 1)
        return x + self.conv_value(context)


class TutorialCA(nn.Module):
    """CA: adaptive strip pooling, permutations, a hand-made h-swish, split."""

    def __init__(self, block: blocks.CA) -> None:
        super().__init__()
        channels, hidden = block.channels, block.reduce.out_channels
        self.pool_h = nn.AdaptiveAvgPool2d((None, 1))
        self.pool_w = nn.AdaptiveAvgPool2d((1, None))
        self.conv1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.relu6 = nn.ReLU6()
        self.conv_h = nn.Conv2d(hidden, channels, kernel_size=1)
        self.conv_w = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        x_h = self.pool_h(x)  # (b, c, h, 1)
        x_w = self.pool_w(x).permute(0, 1, 3, 2)  # (b, c, w, 1)
        y = self.bn1(self.conv1(torch.cat([x_h, x_w], dim=2)))
        y = y * (self.relu6(y + 3) / 6)
        x_h, x_w = torch.split(y, [h, w], dim=2)
        a_h = self.conv_h(x_h).sigmoid()
        a_w = self.conv_w(x_w.permute(0, 1, 3, 2)).sigmoid()
        return x * a_w * a_h


class TutorialCBAM(nn.Module):
    """CBAM: two adaptive poolings through one network of convolutions, then maximum and mean of the gated map."""

    def __init__(self, block: blocks.CBAM) -> None:
        super().__init__()
        channels, hidden, k = block.channels, block.squeeze.out_features, block.conv.kernel_size[0]
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, kernel_size=1),
        )
        self.conv = nn.Conv2d(2, 1, kernel_size=k, padding=k // 2, bias=False)
        norm: Any = block.norm
        self.bn = nn.BatchNorm2d(1, momentum=norm.momentum)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.sigmoid(self.mlp(self.avg_pool(x)) + self.mlp(self.max_pool(x)))
        max_out, _ = torch.max(x, dim=1, keepdim=True)
        avg_out = torch.mean(x, dim=1, keepdim=True)
        return x * self.sigmoid(self.bn(self.conv(torch.cat([max_out, avg_out], dim=1))))


class TutorialSSE(nn.Module):
    """sSE: a convolution to one channel."""

    def __init__(self, block: blocks.SSE) -> None:
        super().__init__()
        self.conv = nn.Conv2d(block.channels, 1, kernel_size=1, bias=block.conv.bias is not None)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(self.conv(x))


class TutorialSCSE(nn.Module):
    """scSE: both recalibrated maps, then their combination."""

    def __init__(self, block: blocks.SCSE) -> None:
        super().__init__()
        channels, hidden, bias = block.channels, block.cse.squeeze.out_features, block.cse.squeeze.bias is not None
        self.combine = block.combine
        self.cSE = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, kernel_size=1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, kernel_size=1, bias=bias),
            nn.Sigmoid(),
        )
        self.sSE = nn.Sequential(nn.Conv2d(channels, 1, kernel_size=1, bias=bias), nn.Sigmoid())
        self.proj = nn.Conv2d(2 * channels, channels, kernel_size=1, bias=False) if block.proj is not None else None

    def forward(self, x: Tensor) -> Tensor:
        if self.combine == "mul":
            return x * self.cSE(x) * self.sSE(x)
        by_channel, by_position = x * self.cSE(x), x * self.sSE(x)
        if self.proj is not None:
            return self.proj(torch.cat([by_channel, by_position], dim=1))
        if self.combine == "max":
            return torch.max(by_channel, by_position)
        return by_channel + by_position


class TutorialELA(nn.Module):
    """ELA: strip means, the 1-D convolution and the GroupNorm on each, views back to four dimensions."""

    def __init__(self, block: blocks.ELA) -> None:
        super().__init__()
        c, k, bias = block.channels, block.conv.kernel_size[0], block.conv.bias is not None
        self.conv = nn.Conv1d(c, c, kernel_size=k, padding=k // 2, groups=block.conv.groups, bias=bias)
        self.gn = nn.GroupNorm(block.norm.num_groups, c)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        x_h = torch.mean(x, dim=3, keepdim=True).view(b, c, h)
        x_w = torch.mean(x, dim=2, keepdim=True).view(b, c, w)
        x_h = self.sigmoid(self.gn(self.conv(x_h))).view(b, c, h, 1)
        x_w = self.sigmoid(self.gn(self.conv(x_w))).view(b, c, 1, w)
        return x * x_h * x_w


class TutorialSGE(nn.Module):
    """SGE: groups folded into the batch, the product with the pooled map summed, views to and fro."""

    def __init__(self, block: blocks.SGE) -> None:
        super().__init__()
        self.groups = block.groups
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.weight = nn.Parameter(torch.zeros(1, block.groups, 1, 1))
        self.bias = nn.Parameter(torch.ones(1, block.groups, 1, 1))
        self.sig = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        x = x.reshape(b * self.groups, -1, h, w)
        xn = (x * self.avg_pool(x)).sum(dim=1, keepdim=True)
        t = xn.view(b * self.groups, -1)
        t = t - t.mean(dim=1, keepdim=True)
        t = t / (t.std(dim=1, keepdim=True) + 1e-5)
        t = t.view(b, self.groups, h, w) * self.weight + self.bias
        x = x * self.sig(t.view(b * self.groups, 1, h, w))
        return x.view(b, c, h, w)


class TutorialGCT(nn.Module):
    """GCT: the authors' release, with powers and nested sums."""

    def __init__(self, block: blocks.GCT) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, block.channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, block.channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, block.channels, 1, 1))
        self.epsilon, self.mode = block.eps, block.mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "l2":
            embedding = (x.pow(2).sum((2, 3), keepdim=True) + self.epsilon).pow(0.5) * self.alpha
            norm = self.gamma / (embedding.pow(2).mean(dim=1, keepdim=True) + self.epsilon).pow(0.5)
        else:
            _x = torch.abs(x)
            embedding = _x.sum((2, 3), keepdim=True) * self.alpha
            norm = self.gamma / (torch.abs(embedding).mean(dim=1, keepdim=True) + self.epsilon)
        gate = 1.0 + torch.tanh(embedding * norm + self.beta)
        return x * gate


TUTORIALS: dict[type[nn.Module], type[nn.Module]] = {
    blocks.SE: TutorialSE,
    blocks.ECA: TutorialECA,
    blocks.GC: TutorialGC,
    blocks.NL: TutorialNL,
    blocks.SNL: TutorialSNL,
    blocks.CA: TutorialCA,
    blocks.CBAM: TutorialCBAM,
    blocks.CSE: TutorialSE,
    blocks.SSE: TutorialSSE,
    blocks.SCSE: TutorialSCSE,
    blocks.ELA: TutorialELA,
    blocks.SGE: TutorialSGE,
    blocks.GCT: TutorialGCT,
}
"""The tutorial forms by the class of their block."""
