"""Multi-Scale Convolutional Attention (MSCA) of SegNeXt."""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, one_
from yolo_attn.blocks.ops import depthwise, strip_convs

LENGTHS = (7, 11, 21)
"""Lengths of the pairs of 1-D convolutions."""


class MSCA(AttentionBlock):
    """Multiply each value by a factor computed from neighbourhoods of four sizes.

    ``y = x * W(a + sum_k DW_v(DW_h(a)))`` with ``a = DW5(x)`` and ``k`` in 7, 11 and 21, Eqs. 1 and 2: depthwise
    convolutions, of 5x5 and in pairs along the width and then the height, and a 1x1 convolution, all with biases. There
    is no sigmoid: the factor takes either sign and has no bound.

    ``init="identity"``: ``W`` starts at 0 with bias 1.

    Args:
        channels: Channels ``C`` of input and output.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> MSCA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation",
        "https://arxiv.org/abs/2209.08575",
    )
    aliases = ("MSCAAttention", "MSCABlock")
    maps = ("factors",)

    def __init__(self, channels: int, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.local = depthwise(channels, 5, 5)
        self.strips = nn.ModuleList(strip_convs(channels, length) for length in LENGTHS)
        self.proj = nn.Conv2d(channels, channels, 1)
        if init == "identity":
            one_(self.proj)

    def attention(self, x: Tensor) -> Tensor:
        """Return the factor of every value ``(N, C, H, W)``."""
        a = self.local(x)
        factors: Tensor = self.proj(sum((strip(a) for strip in self.strips), a))
        return factors
