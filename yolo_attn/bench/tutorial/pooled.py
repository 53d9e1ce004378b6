"""Tutorial forms of Triplet, MLCA, SRM and ESE."""
# ruff: noqa: D102 - forward methods are equivalent to those of the blocks

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn import blocks


class _AttentionGate(nn.Module):
    """Branch of triplet attention: pool over the second dimension, convolve, normalise."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.bn(self.conv(pooled)))


class TutorialTriplet(nn.Module):
    """Triplet: the map permuted for each branch, gated, and permuted back."""

    def __init__(self, block: blocks.Triplet) -> None:
        super().__init__()
        self.cw = _AttentionGate(block.kernel_size)
        self.hc = _AttentionGate(block.kernel_size)
        self.hw = _AttentionGate(block.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        x_out1 = self.cw(x.permute(0, 2, 1, 3).contiguous()).permute(0, 2, 1, 3).contiguous()
        x_out2 = self.hc(x.permute(0, 3, 2, 1).contiguous()).permute(0, 3, 2, 1).contiguous()
        return 1 / 3 * (self.hw(x) + x_out1 + x_out2)


class TutorialMLCA(nn.Module):
    """MLCA: adaptive pooling down and up, sequences by views and transpositions; images stay apart."""

    def __init__(self, block: blocks.MLCA) -> None:
        super().__init__()
        k = block.local_conv.kernel_size[0]
        self.local_size, self.local_weight = block.local_size, block.local_weight
        self.conv_local = nn.Conv1d(1, 1, kernel_size=k, padding=(k - 1) // 2, bias=False)
        self.conv = nn.Conv1d(1, 1, kernel_size=k, padding=(k - 1) // 2, bias=False)
        self.local_arv_pool = nn.AdaptiveAvgPool2d(block.local_size)
        self.global_arv_pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        local_arv = self.local_arv_pool(x)
        b, c, m, n = x.shape
        temp_local = local_arv.reshape(b, c, -1).transpose(-1, -2).reshape(b, 1, -1)
        temp_global = self.global_arv_pool(local_arv).reshape(b, c, -1).transpose(-1, -2)
        y_local = self.conv_local(temp_local).reshape(b, self.local_size * self.local_size, c).transpose(-1, -2)
        y_local = y_local.reshape(b, c, self.local_size, self.local_size)
        y_global = self.conv(temp_global).transpose(-1, -2).unsqueeze(-1)
        att_global = F.adaptive_avg_pool2d(y_global.sigmoid(), (self.local_size, self.local_size))
        att = att_global * (1 - self.local_weight) + y_local.sigmoid() * self.local_weight
        return x * F.adaptive_avg_pool2d(att, (m, n))


class TutorialSRM(nn.Module):
    """SRM: mean and deviation by views, weighted and summed."""

    def __init__(self, block: blocks.SRM) -> None:
        super().__init__()
        self.cfc = nn.Parameter(torch.zeros(block.channels, 2))
        self.bn = nn.BatchNorm2d(block.channels)
        self.activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        flat = x.reshape(b, c, -1)
        std = (flat.var(dim=2) + 1e-5).sqrt()
        u = torch.cat((flat.mean(dim=2, keepdim=True), std.unsqueeze(2)), dim=2)  # (b, c, 2)
        z = torch.sum(u * self.cfc[None, :, :], dim=2)[:, :, None, None]
        return x * self.activation(self.bn(z)).expand_as(x)


class TutorialESE(nn.Module):
    """ESE: pool, a convolution on a 1x1 map, a hand-made hard sigmoid."""

    def __init__(self, block: blocks.ESE) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(block.channels, block.channels, kernel_size=1, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(self.avg_pool(x))
        return x * (F.relu6(y + 3.0) / 6.0)


TUTORIALS: dict[type[nn.Module], type[nn.Module]] = {
    blocks.Triplet: TutorialTriplet,
    blocks.MLCA: TutorialMLCA,
    blocks.SRM: TutorialSRM,
    blocks.ESE: TutorialESE,
}
"""The tutorial forms by the class of their block."""
