"""Convolutional Block Attention Module (CBAM), the paper's."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from yolo_attn.blocks._checks import check_odd
from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import batch_norm, bottleneck, folded, gate, max_c, max_hw, multiply


class CBAM(AttentionBlock):
    """Rescale each channel, then each position, by gates computed from averages and maxima.

    ``x' = x * sigmoid(MLP(mean_hw(x)) + MLP(max_hw(x)))`` with one shared MLP ``W1 relu(W0 .)``, Eq. 2, then
    ``y = x' * sigmoid(BN(conv_k([max_c(x'), mean_c(x')])))``, Eq. 3. As in the authors' release the MLP has biases, the
    convolution has none, and a BatchNorm over one channel (momentum 0.01) follows it. Unlike the paper, the hidden
    width has a floor (``min_hidden``), and in training a batch of one 1x1 map, which has no batch statistics, is
    normalised by the running ones. Copies lack the BatchNorm, and the class of this name in Ultralytics also the
    maximum over positions and the bottleneck.

    ``init="identity"``: ``W1`` with its bias and the weight of the BatchNorm start at 0.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        kernel_size: Odd kernel size of the spatial convolution.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> CBAM(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("CBAM: Convolutional Block Attention Module", "https://arxiv.org/abs/1807.06521")
    aliases = ("CBAMBlock", "cbam_block")
    public: ClassVar = {"CBAM": ("kernel_size",)}
    maps = ("channel", "spatial")
    fused = "cbam:CBAM"

    def __init__(
        self, channels: int, reduction: int = 16, kernel_size: int = 7, min_hidden: int = 4, *, init: Init = "paper"
    ) -> None:
        super().__init__(channels, init)
        hidden = max(channels // reduction, min_hidden)
        check_odd("kernel_size", kernel_size)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(1, momentum=0.01)
        if init == "identity":
            zero_(self.excite)
            nn.init.zeros_(self.norm.weight)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel gate ``(N, C, 1, 1)``, and the spatial gate ``(N, 1, H, W)`` of the map that it gated."""
        channel = self._channel_gate(x)
        return channel, self._spatial_gate(multiply(x, channel))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its channel gate, times the spatial gate of that product."""
        x = multiply(x, self._channel_gate(x))
        return multiply(x, self._spatial_gate(x), overwrite=True)

    def _channel_gate(self, x: Tensor) -> Tensor:
        pooled = torch.cat((x.mean((2, 3), keepdim=True), max_hw(x)), dim=3)  # (N, C, 1, 2)
        z = bottleneck(pooled, self.squeeze, self.excite).sum(3, keepdim=True)
        return gate(z, self.scale)  # (N, C, 1, 1)

    def _spatial_gate(self, x: Tensor) -> Tensor:
        pooled = torch.cat((max_c(x), x.mean(1, keepdim=True)), dim=1)  # (N, 2, H, W)
        return gate(batch_norm(self.conv(pooled), self.norm), self.scale)  # (N, 1, H, W)

    def fuse(self) -> None:
        """Fold the BatchNorm into the convolution before it, for inference; it has nothing to train any more."""
        self.norm = folded(self.norm, self.conv)
