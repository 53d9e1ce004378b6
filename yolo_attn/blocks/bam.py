"""Bottleneck Attention Module (BAM)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import batch_norm, folded, gate, multiply, pointwise

Norm = nn.BatchNorm2d | nn.Identity


class BAM(AttentionBlock):
    """Strengthen each value by a gate from the sum of a channel term and a spatial term.

    ``y = x * (1 + sigmoid(c + s))``, Eqs. 1 and 2. The channel term is ``c = W1 relu(BN(W0 mean_hw(x)))``; the spatial
    term ``s`` is a 1x1 convolution to ``C/r`` channels, two dilated 3x3 convolutions, each with BatchNorm and ReLU, and
    a 1x1 convolution to one channel. As in the authors' release the last layers have no BatchNorm, and all have biases.
    That release multiplies the two terms, ``sigmoid(c * s)``, where the paper adds them: that is ``combine="mul"``.
    Unlike the paper, the hidden width has a floor (``min_hidden``), and in training a batch of one image, which has no
    batch statistics of ``mean_hw(x)``, is normalised by the running ones.

    The factor is above 1 everywhere and cannot start there. ``init="identity"`` adds a scalar ``gamma``, initially 0,
    and the block returns ``x + gamma * (block(x) - x)``.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio ``r``; the hidden width is ``max(channels // reduction, min_hidden)``.
        dilation: Dilation of the 3x3 convolutions.
        min_hidden: Smallest hidden width.
        combine: ``"add"`` or ``"mul"``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> BAM(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("BAM: Bottleneck Attention Module", "https://arxiv.org/abs/1807.06514")
    aliases = ("BAMBlock", "bam_block")
    maps = ("full",)
    variants = ({"combine": "mul"},)
    blends = True

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        dilation: int = 4,
        min_hidden: int = 4,
        combine: Literal["add", "mul"] = "add",
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        self.combine = combine
        hidden = max(channels // reduction, min_hidden)
        self.squeeze = nn.Linear(channels, hidden)
        self.norm: Norm = nn.BatchNorm2d(hidden)
        self.excite = nn.Linear(hidden, channels)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm0: Norm = nn.BatchNorm2d(hidden)
        self.conv1 = nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
        self.norm1: Norm = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
        self.norm2: Norm = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, 1, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the gate of every value ``(N, C, H, W)``, which the block adds to 1."""
        c = pointwise(x.mean((2, 3), keepdim=True), self.squeeze)  # (N, hidden, 1, 1)
        c = pointwise(batch_norm(c, self.norm).relu(), self.excite)  # (N, C, 1, 1)
        s = batch_norm(self.reduce(x), self.norm0).relu()  # (N, hidden, H, W)
        s = batch_norm(self.conv1(s), self.norm1).relu()
        s = batch_norm(self.conv2(s), self.norm2).relu()
        s = self.project(s)  # (N, 1, H, W)
        return gate(c + s if self.combine == "add" else c * s, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times 1 plus its gate."""
        return multiply(x, 1 + self.attention(x))

    def fuse(self) -> None:
        """Fold the BatchNorms into the layers before them, for inference; they have nothing to train then."""
        self.norm, self.norm0 = folded(self.norm, self.squeeze), folded(self.norm0, self.reduce)
        self.norm1, self.norm2 = folded(self.norm1, self.conv1), folded(self.norm2, self.conv2)
