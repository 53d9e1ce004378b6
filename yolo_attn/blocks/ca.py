"""Coordinate Attention (CA)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import folded, gate, strips


class CA(AttentionBlock):
    """Rescale each channel by one gate along the height and one along the width.

    ``f = h_swish(BN(W1 [mean_w(x), mean_h(x)]))``, split into ``f_h`` and ``f_w``, and
    ``y = x * sigmoid(Wh f_h) * sigmoid(Ww f_w)``, Eqs. 4-9. Not to be confused with "channel attention". As in the
    authors' release the non-linearity is h-swish and the hidden width has a floor (``min_hidden``).

    ``init="identity"``: ``Wh`` and ``Ww`` (and their biases) start at 0.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> CA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("Coordinate Attention for Efficient Mobile Network Design", "https://arxiv.org/abs/2103.02907")
    aliases = ("CoordAtt", "CoordAttention", "CoordinateAttention")
    maps = ("rows", "columns")
    fused = "ca:CA"

    def __init__(self, channels: int, reduction: int = 32, min_hidden: int = 8, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        hidden = max(channels // reduction, min_hidden)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1)
        self.conv_w = nn.Conv2d(hidden, channels, 1)
        if init == "identity":
            zero_(self.conv_h, self.conv_w)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates along height ``(N, C, H, 1)`` and width ``(N, C, 1, W)``."""
        rows, columns = strips(x)
        f = torch.cat((rows, columns.transpose(2, 3)), dim=2)  # (N, C, H+W, 1)
        f = F.hardswish(self.norm(self.reduce(f)))  # (N, hidden, H+W, 1)
        f_h, f_w = f.split_with_sizes((x.shape[2], x.shape[3]), 2)
        return gate(self.conv_h(f_h), self.scale), gate(self.conv_w(f_w.transpose(2, 3)), self.scale)

    def fuse(self) -> None:
        """Fold the BatchNorm into the convolution before it, for inference; it has nothing to train any more."""
        self.norm = folded(self.norm, self.reduce)
