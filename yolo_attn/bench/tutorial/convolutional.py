"""Tutorial forms of LSKA, LSK, CAA, MSCA, CPCA, SCSA, SEAM and SK."""
# ruff: noqa: D102 - forward methods are equivalent to those of the blocks

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn import blocks


def like(conv: Any) -> nn.Conv2d:
    """Return a new convolution with the sizes of another one."""
    made: nn.Conv2d = type(conv)(
        conv.in_channels,
        conv.out_channels,
        kernel_size=conv.kernel_size,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    return made


class TutorialLSKA(nn.Module):
    """LSKA: four depthwise convolutions, a 1x1 convolution, a copy of the input."""

    def __init__(self, block: blocks.LSKA) -> None:
        super().__init__()
        (conv0h, conv0v), (conv_spatial_h, conv_spatial_v) = block.local, block.dilated
        self.conv0h, self.conv0v = like(conv0h), like(conv0v)
        self.conv_spatial_h, self.conv_spatial_v = like(conv_spatial_h), like(conv_spatial_v)
        self.conv1 = like(block.proj)

    def forward(self, x: Tensor) -> Tensor:
        u = x.clone()
        attn = self.conv0v(self.conv0h(x))
        attn = self.conv_spatial_v(self.conv_spatial_h(attn))
        attn = self.conv1(attn)
        return u * attn


class TutorialLSK(nn.Module):
    """LSK: both halves concatenated, mean and maximum of them, indices and views of the gates."""

    def __init__(self, block: blocks.LSK) -> None:
        super().__init__()
        self.conv0, self.conv_spatial = like(block.small), like(block.large)
        self.conv1, self.conv2 = like(block.reduce_small), like(block.reduce_large)
        self.conv_squeeze, self.conv = like(block.select), like(block.proj)

    def forward(self, x: Tensor) -> Tensor:
        attn1 = self.conv0(x)
        attn2 = self.conv2(self.conv_spatial(attn1))
        attn1 = self.conv1(attn1)
        attn = torch.cat([attn1, attn2], dim=1)
        avg_attn = torch.mean(attn, dim=1, keepdim=True)
        max_attn, _ = torch.max(attn, dim=1, keepdim=True)
        sig = self.conv_squeeze(torch.cat([avg_attn, max_attn], dim=1)).sigmoid()
        attn = attn1 * sig[:, 0, :, :].unsqueeze(1) + attn2 * sig[:, 1, :, :].unsqueeze(1)
        return x * self.conv(attn)


class TutorialCAA(nn.Module):
    """CAA: pooling as a module, sequences of modules."""

    def __init__(self, block: blocks.CAA) -> None:
        super().__init__()
        h_conv, v_conv = block.strips
        self.avg_pool = nn.AvgPool2d(7, 1, 3)
        self.conv1 = self._conv_bn_act(block.channels)
        self.h_conv, self.v_conv = like(h_conv), like(v_conv)
        self.conv2 = self._conv_bn_act(block.channels)
        self.act = nn.Sigmoid()
        self.multiply = block.multiply

    @staticmethod
    def _conv_bn_act(channels: int) -> nn.Sequential:
        conv = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels, eps=0.001, momentum=0.03), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        attn_factor = self.act(self.conv2(self.v_conv(self.h_conv(self.conv1(self.avg_pool(x))))))
        return attn_factor * x if self.multiply else attn_factor


class TutorialMSCA(nn.Module):
    """MSCA: one pair of convolutions after the other, their results added in turn."""

    def __init__(self, block: blocks.MSCA) -> None:
        super().__init__()
        self.conv0 = like(block.local)
        self.conv0_1, self.conv0_2, self.conv1_1, self.conv1_2, self.conv2_1, self.conv2_2 = (
            like(conv) for pair in block.strips for conv in pair.children()
        )
        self.conv3 = like(block.proj)

    def forward(self, x: Tensor) -> Tensor:
        u = x.clone()
        attn = self.conv0(x)
        attn_0 = self.conv0_2(self.conv0_1(attn))
        attn_1 = self.conv1_2(self.conv1_1(attn))
        attn_2 = self.conv2_2(self.conv2_1(attn))
        attn = attn + attn_0 + attn_1 + attn_2
        return self.conv3(attn) * u


class TutorialCPCA(nn.Module):
    """CPCA: two adaptive poolings through the same convolutions in turn, views."""

    def __init__(self, block: blocks.CPCA) -> None:
        super().__init__()
        channels, hidden = block.channels, block.squeeze.out_features
        self.conv = like(block.mix)
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1)
        self.dconv5_5 = like(block.local)
        self.dconv1_7, self.dconv7_1, self.dconv1_11, self.dconv11_1, self.dconv1_21, self.dconv21_1 = (
            like(conv) for pair in block.strips for conv in pair.children()
        )
        self.act = nn.GELU()

    def channel_attention(self, inputs: Tensor) -> Tensor:
        x1 = F.adaptive_avg_pool2d(inputs, output_size=(1, 1))
        x1 = torch.sigmoid(self.fc2(F.relu(self.fc1(x1), inplace=True)))
        x2 = F.adaptive_max_pool2d(inputs, output_size=(1, 1))
        x2 = torch.sigmoid(self.fc2(F.relu(self.fc1(x2), inplace=True)))
        return inputs * (x1 + x2).view(-1, inputs.size(1), 1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = self.channel_attention(self.act(self.conv(inputs)))
        x_init = self.dconv5_5(inputs)
        x_1 = self.dconv7_1(self.dconv1_7(x_init))
        x_2 = self.dconv11_1(self.dconv1_11(x_init))
        x_3 = self.dconv21_1(self.dconv1_21(x_init))
        spatial_att = self.conv(x_1 + x_2 + x_3 + x_init)
        return self.conv(spatial_att * inputs)


class TutorialSCSA(nn.Module):
    """SCSA: the whole products of queries, keys and values, then their mean."""

    def __init__(self, block: blocks.SCSA) -> None:
        super().__init__()
        dim = block.channels
        self.head_num, self.window_size, self.group_chans = block.heads, block.window, dim // 4
        self.local_dwc, self.global_dwc_s, self.global_dwc_m, self.global_dwc_l = (
            nn.Conv1d(dim // 4, dim // 4, kernel_size=k, padding=k // 2, groups=dim // 4) for k in block.kernels
        )
        self.norm_h = nn.GroupNorm(4, dim)
        self.norm_w = nn.GroupNorm(4, dim)
        self.norm = nn.GroupNorm(1, dim)
        self.q = nn.Conv2d(dim, dim, kernel_size=1, bias=False, groups=dim)
        self.k = nn.Conv2d(dim, dim, kernel_size=1, bias=False, groups=dim)
        self.v = nn.Conv2d(dim, dim, kernel_size=1, bias=False, groups=dim)

    def spatial_attention(self, strip: Tensor, norm: nn.GroupNorm) -> Tensor:
        x_l, x_s, x_m, x_g = torch.split(strip, self.group_chans, dim=1)
        convolved = (self.local_dwc(x_l), self.global_dwc_s(x_s), self.global_dwc_m(x_m), self.global_dwc_l(x_g))
        return norm(torch.cat(convolved, dim=1)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        x_h_attn = self.spatial_attention(x.mean(dim=3), self.norm_h).view(b, c, h, 1)
        x_w_attn = self.spatial_attention(x.mean(dim=2), self.norm_w).view(b, c, 1, w)
        x = x * x_h_attn * x_w_attn
        y = self.norm(F.avg_pool2d(x, (min(self.window_size, h), min(self.window_size, w))))
        q, k, v = (m(y).reshape(b, self.head_num, c // self.head_num, -1) for m in (self.q, self.k, self.v))
        attn = q @ k.transpose(-2, -1) * (c // self.head_num) ** -0.5
        attn = attn.softmax(dim=-1) @ v  # (b, heads, c / heads, windows)
        attn = attn.reshape(b, c, *y.shape[2:]).mean((2, 3), keepdim=True)
        return attn.sigmoid() * x


class Residual(nn.Module):
    """Add the input to what a module returns."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


class TutorialSEAM(nn.Module):
    """SEAM: nested sequences, adaptive pooling, views, expand."""

    def __init__(self, block: blocks.SEAM) -> None:
        super().__init__()
        channels, hidden = block.channels, block.squeeze.out_features
        self.DCovN = nn.Sequential(*(self._stage(channels) for _ in block.stages))
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    @staticmethod
    def _stage(channels: int) -> nn.Sequential:
        local = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        return nn.Sequential(
            Residual(nn.Sequential(local, nn.GELU(), nn.BatchNorm2d(channels))),
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.GELU(),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.avg_pool(self.DCovN(x)).view(b, c)
        y = torch.exp(self.fc(y).view(b, c, 1, 1))
        return x * y.expand_as(x)


class TutorialSK(nn.Module):
    """SK: the results of all branches stacked, summed, and stacked weights."""

    def __init__(self, block: blocks.SK) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(like(branch.conv), nn.BatchNorm2d(block.channels), nn.ReLU()) for branch in block.branches
        )
        channels, hidden, bias = block.channels, block.squeeze.out_channels, block.squeeze.bias is not None
        self.fc = nn.Linear(channels, hidden, bias=bias)
        self.bn = nn.BatchNorm1d(hidden) if isinstance(block.norm, nn.BatchNorm2d) else None
        self.fcs = nn.ModuleList(nn.Linear(hidden, channels, bias=bias) for _ in block.branches)
        self.softmax = nn.Softmax(dim=0)

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        feats = torch.stack([conv(x) for conv in self.convs], 0)  # (k, b, c, h, w)
        z = self.fc(feats.sum(0).mean(-1).mean(-1))
        z = z if self.bn is None else F.relu(self.bn(z))
        weights = torch.stack([fc(z).view(b, c, 1, 1) for fc in self.fcs], 0)  # (k, b, c, 1, 1)
        return (self.softmax(weights) * feats).sum(0)


TUTORIALS: dict[type[nn.Module], type[nn.Module]] = {
    blocks.LSKA: TutorialLSKA,
    blocks.LSK: TutorialLSK,
    blocks.CAA: TutorialCAA,
    blocks.MSCA: TutorialMSCA,
    blocks.CPCA: TutorialCPCA,
    blocks.SCSA: TutorialSCSA,
    blocks.SEAM: TutorialSEAM,
    blocks.SK: TutorialSK,
}
"""The tutorial forms by the class of their block."""
