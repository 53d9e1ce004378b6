"""Style-based Recalibration Module (SRM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import batch_norm, folded, gate, no_autocast, variance


class SRM(AttentionBlock):
    """Rescale each channel by a gate computed from its own mean and standard deviation.

    ``y = x * sigmoid(BN(c1 mean_hw(x) + c2 std_hw(x)))`` with two weights a channel, which start at 0 as in the
    authors' release, and ``std`` the root of the unbiased variance plus ``1e-5``. Both statistics are computed in
    float32 for half precision, and the variance of a single position (a 1x1 map) is 0. Unlike the paper, in training a
    batch of one image, which has no batch statistics, is normalised by the running ones.

    ``init="identity"``: the weights start at 0 as well.

    Args:
        channels: Channels ``C`` of input and output.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SRM(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "SRM: A Style-based Recalibration Module for Convolutional Neural Networks", "https://arxiv.org/abs/1903.10829"
    )
    aliases = ("SRMLayer", "SRMBlock", "srm_layer")
    maps = ("channel",)

    def __init__(self, channels: int, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.weigh = nn.Conv2d(channels, channels, (1, 2), groups=channels, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels)
        zero_(self.weigh)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``."""
        with no_autocast(x.device.type):
            wide = x if x.dtype == torch.float64 else x.float()
            std = (variance(wide) + 1e-5).sqrt()
            style = torch.cat((wide.mean((2, 3), keepdim=True), std), dim=3).to(x.dtype)  # (N, C, 1, 2)
        return gate(batch_norm(self.weigh(style), self.norm), self.scale)

    def fuse(self) -> None:
        """Fold the BatchNorm into the weights before it, for inference; it has nothing to train any more."""
        self.norm = folded(self.norm, self.weigh)
