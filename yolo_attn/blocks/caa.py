"""Context Anchor Attention (CAA) of PKINet."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks._checks import check_odd
from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import batch_norm, folded, gate, multiply, strip_convs


class CAA(AttentionBlock):
    """Rescale each value by a gate computed from local averages along its row and its column.

    ``z = SiLU(BN(W1 mean_7x7(x)))`` and ``y = x * sigmoid(SiLU(BN(W2 DW_v(DW_h(z)))))``, Eqs. 4-6, with a depthwise
    convolution along the width and then one along the height. As in the authors' release the average counts the zeros
    beyond the border, only these two convolutions have biases, and BatchNorm has ``eps=1e-3`` and momentum 0.03. Most
    copies return the gate alone, which the authors' code multiplies elsewhere: that is ``multiply=False``. In training,
    a batch of one 1x1 map, which has no batch statistics, is normalised by the running ones.

    ``init="identity"``: the weight of the last BatchNorm starts at 0. The gate alone is never ``x``: with
    ``multiply=False`` a scalar ``gamma``, initially 0, is added, and the block returns ``x + gamma * (gate - x)``.

    Args:
        channels: Channels ``C`` of input and output.
        kernel_size: Odd length of the two depthwise convolutions.
        multiply: Whether the block returns the product with ``x``, or the gate.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> CAA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("Poly Kernel Inception Network for Remote Sensing Detection", "https://arxiv.org/abs/2403.06258")
    aliases = ("CAABlock", "ContextAnchorAttention")
    public: ClassVar = {"CAA": ("kernel_size", "kernel_size")}
    maps = ("full",)
    variants = ({"multiply": False},)
    blends = True

    def __init__(self, channels: int, kernel_size: int = 11, multiply: bool = True, *, init: Init = "paper") -> None:
        super().__init__(channels, init, blends=not multiply)
        self.kernel_size, self.multiply = check_odd("kernel_size", kernel_size), multiply
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm1: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
        self.strips = strip_convs(channels, kernel_size)
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
        if init == "identity" and multiply:
            nn.init.zeros_(self.norm2.weight)

    def attention(self, x: Tensor) -> Tensor:
        """Return the gate of every value ``(N, C, H, W)``."""
        z = F.avg_pool2d(x, 7, stride=1, padding=3)
        z = F.silu(batch_norm(self.conv1(z), self.norm1))
        z = F.silu(batch_norm(self.conv2(self.strips(z)), self.norm2))
        return gate(z, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its gate, or the gate."""
        gates = self.attention(x)
        return multiply(x, gates) if self.multiply else gates.to(x.dtype)

    def fuse(self) -> None:
        """Fold each BatchNorm into the convolution before it, for inference; they have nothing to train any more."""
        self.norm1 = folded(self.norm1, self.conv1)
        self.norm2 = folded(self.norm2, self.conv2)
