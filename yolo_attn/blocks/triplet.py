"""Triplet attention."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from yolo_attn.blocks._checks import check_odd
from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import batch_norm, folded, gate, max_along, multiply


class Triplet(AttentionBlock):
    """Rescale each value by the mean of three gates, each computed from the map pooled along one dimension.

    ``y = x * (g_h + g_w + g_c) / 3`` with ``g = sigmoid(BN(conv_k([max(x), mean(x)])))``. ``g_h`` is pooled along the
    height and its convolution runs over channels and width, ``g_w`` along the width, over height and channels, and
    ``g_c`` along the channels, over height and width. As in the authors' release the convolutions have no bias and the
    momentum of the BatchNorms is 0.01.

    ``init="identity"``: the weights of the BatchNorms start at 0.

    Args:
        channels: Channels ``C`` of input and output; the block needs no number of them.
        kernel_size: Odd kernel size ``k``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> Triplet(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("Rotate to Attend: Convolutional Triplet Attention Module", "https://arxiv.org/abs/2010.03045")
    aliases = ("TripletAttention", "TripletAtt", "triplet_attention")
    public: ClassVar = {"TripletAttention": ("reduction_ratio=16",)}
    maps = ("columns", "rows", "spatial")
    variants = ({"kernel_size": 3},)

    def __init__(self, channels: int, kernel_size: int = 7, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.kernel_size = check_odd("kernel_size", kernel_size)
        self.conv_h, self.norm_h = self._layers()
        self.conv_w, self.norm_w = self._layers()
        self.conv_c, self.norm_c = self._layers()
        if init == "identity":
            for norm in (self.norm_h, self.norm_w, self.norm_c):
                zero_(norm)

    def _layers(self) -> tuple[nn.Conv2d, nn.BatchNorm2d | nn.Identity]:
        conv = nn.Conv2d(2, 1, self.kernel_size, padding=self.kernel_size // 2, bias=False)
        return conv, nn.BatchNorm2d(1, momentum=0.01)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gates pooled along height ``(N, C, 1, W)``, width ``(N, C, H, 1)`` and channels ``(N, 1, H, W)``.

        Each is computed with the pooled dimension in the place of the channels.
        """
        g_h = self._gate(_pooled(x, 2).transpose(1, 2), self.conv_h, self.norm_h).transpose(1, 2)
        g_w = self._gate(_pooled(x, 3).transpose(1, 3), self.conv_w, self.norm_w).transpose(1, 3)
        return g_h, g_w, self._gate(_pooled(x, 1), self.conv_c, self.norm_c)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times the mean of its gates."""
        g_h, g_w, g_c = (g.to(x.dtype) for g in self.attention(x))
        return multiply(x, (g_h + g_w + g_c) / 3)

    def _gate(self, pooled: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d | nn.Identity) -> Tensor:
        return gate(batch_norm(conv(pooled), norm), self.scale)

    def fuse(self) -> None:
        """Fold the BatchNorms into the convolutions before them, for inference; they have nothing to train then."""
        self.norm_h = folded(self.norm_h, self.conv_h)
        self.norm_w = folded(self.norm_w, self.conv_w)
        self.norm_c = folded(self.norm_c, self.conv_c)


def _pooled(x: Tensor, dim: int) -> Tensor:
    """Return maximum and mean along one dimension, in place of it."""
    return torch.cat((max_along(x, dim), x.mean(dim, keepdim=True)), dim)
