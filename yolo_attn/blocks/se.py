"""Squeeze-and-Excitation (SE) channel attention."""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import bottleneck, gate


class SE(AttentionBlock):
    """Rescale each channel by a gate computed from the global averages of all channels.

    ``y = x * sigmoid(W2 relu(W1 mean_hw(x)))``, Eqs. 2-4. Unlike the paper, the hidden width has a floor
    (``min_hidden``). The authors' release has biases in both layers: that is ``bias=True``.

    ``init="identity"``: ``W2`` (and its bias) starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        bias: Whether the two linear layers have biases.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> SE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("Squeeze-and-Excitation Networks", "https://arxiv.org/abs/1709.01507")
    aliases = ("SEAttention", "SEBlock", "SELayer", "se_block")
    maps = ("channel",)
    variants = ({"bias": True},)
    fused = "channel:SE"

    def __init__(
        self, channels: int, reduction: int = 16, bias: bool = False, min_hidden: int = 4, *, init: Init = "paper"
    ) -> None:
        super().__init__(channels, init)
        hidden = max(channels // reduction, min_hidden)
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)
        if init == "identity":
            zero_(self.excite)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``."""
        s = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return gate(bottleneck(s, self.squeeze, self.excite), self.scale)
