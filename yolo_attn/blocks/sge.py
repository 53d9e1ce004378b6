"""Spatial Group-wise Enhance (SGE).

Paper: Li et al., "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
arXiv 2019, https://arxiv.org/abs/1905.09646
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.blocks._common import INITS, Init, check_choice, check_divides, check_int, gate, gate_scale, is_exported
from yolo_attn.blocks._exported import spread_groups, sum_groups
from yolo_attn.blocks._recalibrate import recalibrate
from yolo_attn.blocks._statistics import similarity

_EPS = 1e-5


class SGE(nn.Module):
    """Rescale each position of each channel group by its similarity to the group's global average.

    ``t_i = mean_hw(x) . x_i`` within a group, ``t = (t - mean_i(t)) / (std_i(t) + 1e-5)`` with the unbiased deviation
    as in the authors' release, ``y_i = x_i * sigmoid(weight * t_i + bias)``; weight and bias per group, starting at 0
    and 1. Unlike the paper, which uses 64 groups, the default is 8, which divides the usual widths. The similarity is
    computed in float32 for half precision, and the deviation of a single position (a 1x1 map) is 0.

    ``init="identity"``: weight and bias start at 0 and the gate is ``2 * sigmoid``, in (0, 2), hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        groups: Number of groups ``G``; has to divide ``channels``.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range, or ``groups`` does not divide ``channels``.

    Example:
        >>> SGE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(self, channels: int, groups: int = 8, *, init: Init = "paper") -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        self.groups = check_divides("groups", groups, channels)
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.weight = nn.Parameter(torch.zeros(groups))
        self.bias = nn.Parameter(torch.full((groups,), 0.0 if init == "identity" else 1.0))

    def attention(self, x: Tensor) -> Tensor:
        """Return the gate of each group ``(N, G, H, W)``, in (0, 1), with ``init="identity"`` in (0, 2)."""
        return self._gates(*similarity(self._grouped(x)))[0].squeeze(2)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times the gate of each group."""
        if is_exported():
            return x * self._exported_gates(x)
        return recalibrate(self._grouped(x), similarity, self._gates).flatten(1, 2)

    def _grouped(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1))  # (N, G, C/G, H, W)

    def _gates(self, similarity: Tensor, _: Tensor) -> tuple[Tensor]:
        t = similarity.flatten(2)  # (N, G, HW)
        centred = t - t.mean(2, keepdim=True)
        slope = self.weight[:, None] / (_deviation(centred) + _EPS)  # (N, G, 1)
        t = torch.addcmul(self.bias[:, None], centred, slope)
        return (gate(t, self.scale).unflatten(2, similarity.shape[2:]),)  # (N, G, 1, H, W)

    def _exported_gates(self, x: Tensor) -> Tensor:
        """Return the gates of :meth:`_gates` for every channel, by operations on maps of four dimensions."""
        grouping = self.groups, self.channels // self.groups
        wide = x if x.dtype == torch.float64 else x.float()
        t = sum_groups(wide * wide.mean((2, 3), keepdim=True), *grouping)  # (N, G, H, W)
        t = t - t.mean((2, 3), keepdim=True)
        others = (torch.ones_like(t).sum((2, 3), keepdim=True) - 1).clamp_min(1)  # positions but one
        std = torch.sqrt(t.square().sum((2, 3), keepdim=True) / others)
        slope, bias = self.weight[:, None, None], self.bias[:, None, None]
        gates = gate(t / (std + _EPS) * slope + bias, self.scale).to(x.dtype)
        return spread_groups(gates, *grouping)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"{self.channels}, groups={self.groups}, init={self.init}"


def _deviation(centred: Tensor) -> Tensor:
    """Return the standard deviation of values with mean 0, ``(N, G, HW)`` -> ``(N, G, 1)``; of a single one it is 0.

    ``torch.std`` takes ten times as long.
    """
    others = max(centred.shape[2] - 1, 1)
    return torch.linalg.vector_norm(centred, dim=2, keepdim=True) / others**0.5
