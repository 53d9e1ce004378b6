"""Separated and Enhancement Attention Module (SEAM) of YOLO-FaceV2."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import batch_norm, bottleneck, depthwise


class _Stage(nn.Module):
    """Depthwise convolution around which the input is added, and a 1x1 convolution, each with GELU and BatchNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = depthwise(channels, 3, 3)
        self.norm1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        for conv in (self.depthwise, self.pointwise):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        x = x + batch_norm(F.gelu(self.depthwise(x)), self.norm1)
        return batch_norm(F.gelu(self.pointwise(x)), self.norm2)


class SEAM(AttentionBlock):
    """Strengthen each channel by a gate computed from the averages of convolved features.

    ``z`` is ``x`` after ``depth`` stages ``z' = z + BN(GELU(DW3(z)))``, ``z = BN(GELU(W z'))``, and
    ``y = x * exp(sigmoid(W2 relu(W1 mean_hw(z))))``, a gate in (1, e). As in the authors' release the two linear layers
    have no biases, and the weights of the convolutions start as Glorot's. Unlike there, the hidden width is at least 1,
    and in training a batch of one 1x1 map, which has no batch statistics, is normalised by the running ones.

    ``init="identity"``: ``W2`` starts at 0 and the gate is ``exp(sigmoid(.) - 1/2)``.

    Args:
        channels: Channels ``C`` of input and output.
        depth: Number of stages.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, 1)``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SEAM(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("YOLO-FaceV2: A Scale and Occlusion Aware Face Detector", "https://arxiv.org/abs/2208.02019")
    aliases = ("SEAMBlock", "SEAMAttention")
    maps = ("channel",)
    variants = ({"depth": 2},)

    def __init__(self, channels: int, depth: int = 1, reduction: int = 16, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        hidden = max(channels // reduction, 1)
        self.stages = nn.Sequential(*(_Stage(channels) for _ in range(depth)))
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)
        self.shift = 0.5 if init == "identity" else 0.0
        if init == "identity":
            zero_(self.excite)

    @property
    def tops(self) -> tuple[float | None, ...]:
        """Upper end of the gate's range; its lower end is ``1 / e`` of it."""
        return (math.exp(1 - self.shift),)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``."""
        z = self.stages(x).mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return torch.exp(torch.sigmoid(bottleneck(z, self.squeeze, self.excite)) - self.shift)
