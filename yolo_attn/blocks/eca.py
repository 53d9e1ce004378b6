"""Efficient Channel Attention (ECA)."""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.blocks._checks import check_odd
from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import adaptive_kernel, conv_channels, gate


class ECA(AttentionBlock):
    """Rescale each channel by a gate computed from the global averages of its ``k`` neighbours.

    ``y = x * sigmoid(conv1d_k(mean_hw(x)))``; one kernel without bias slides over the channels, zeros beyond
    both ends. ``k`` follows from the width: ``t = int(abs((log2 C + b) / gamma))``, and ``k`` is ``t`` if odd,
    else ``t + 1``. (The paper's ResNet-50 with 80 extra parameters has explicit sizes instead: 3, 5, 5, 7.) Many copies
    have a kernel of 3 at every width, some with a bias: that is ``kernel_size=3, bias=True``.

    ``init="identity"``: the kernel starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        kernel_size: Odd kernel size ``k``; ``None`` computes it from ``channels``, ``gamma`` and ``b``.
        gamma: Divisor in the adaptive size, greater than 0.
        b: Offset in the adaptive size.
        bias: Whether the convolution has a bias.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> ECA(256).kernel_size
        5
        >>> ECA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
        "https://arxiv.org/abs/1910.03151",
    )
    aliases = ("ECAAttention", "ECALayer", "eca_block", "eca_layer")
    maps = ("channel",)
    variants = ({"kernel_size": 5, "bias": True},)
    fused = "channel:ECA"
    positive = ("gamma",)

    def __init__(
        self,
        channels: int,
        kernel_size: int | None = None,
        gamma: float = 2,
        b: float = 1,
        bias: bool = False,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        if kernel_size is None:
            kernel_size = adaptive_kernel(channels, gamma, b)
        self.kernel_size = check_odd("kernel_size", kernel_size)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=bias)
        if init == "identity":
            zero_(self.conv)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``."""
        s = x.mean((2, 3), keepdim=True).transpose(1, 2)  # (N, 1, C, 1)
        return gate(conv_channels(s, self.conv), self.scale).transpose(1, 2)
