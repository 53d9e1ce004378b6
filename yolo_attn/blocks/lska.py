"""Large Separable Kernel Attention (LSKA)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, one_
from yolo_attn.blocks.ops import strip_convs

# kernel size: length of the first pair, length of the dilated pair, its dilation
_PAIRS = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 53: (5, 17, 3)}


class LSKA(AttentionBlock):
    """Multiply each value by a factor computed from a large neighbourhood by four 1-D convolutions.

    ``y = x * W(DWd_v(DWd_h(DW_v(DW_h(x)))))``, Eqs. 6-9: depthwise convolutions along the width and along the height,
    the same again with dilation, and a 1x1 convolution, all with biases. There is no sigmoid: the factor takes either
    sign and has no bound. Together the convolutions see ``kernel_size`` positions in both directions; most public model
    YAMLs mean ``kernel_size=7``.

    ``init="identity"``: ``W`` starts at 0 with bias 1.

    Args:
        channels: Channels ``C`` of input and output.
        kernel_size: 7, 11, 23, 35, 41 or 53.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> LSKA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "Large Separable Kernel Attention: Rethinking the Large Kernel Attention Design in CNN",
        "https://arxiv.org/abs/2309.01439",
    )
    aliases = ("LSKABlock", "LargeSeparableKernelAttention")
    maps = ("factors",)
    variants = ({"kernel_size": 7}, {"kernel_size": 23})
    places: ClassVar[dict[str, str]] = {"SPPF": "concat"}

    def __init__(
        self, channels: int, kernel_size: Literal[7, 11, 23, 35, 41, 53] = 11, *, init: Init = "paper"
    ) -> None:
        super().__init__(channels, init)
        self.kernel_size = kernel_size
        first, second, dilation = _PAIRS[kernel_size]
        self.local = strip_convs(channels, first)
        self.dilated = strip_convs(channels, second, dilation)
        self.proj = nn.Conv2d(channels, channels, 1)
        if init == "identity":
            one_(self.proj)

    def attention(self, x: Tensor) -> Tensor:
        """Return the factor of every value ``(N, C, H, W)``."""
        factors: Tensor = self.proj(self.dilated(self.local(x)))
        return factors
