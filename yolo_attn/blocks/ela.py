"""Efficient Local Attention (ELA)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks._checks import check_divides, check_odd
from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import gate, is_traced, strips

# variant: (kernel size, channels per convolution group, GroupNorm groups)
_VARIANTS = {"T": (5, 1, 32), "B": (7, 1, 16), "S": (5, 8, 16), "L": (7, 8, 16)}


class ELA(AttentionBlock):
    """Rescale each channel by one gate along the height and one along the width, from local 1-D convolutions.

    ``y = x * sigmoid(GN(conv_k(mean_w(x)))) * sigmoid(GN(conv_k(mean_h(x))))``: as in the authors' code, one
    convolution without bias and one GroupNorm serve both directions. The variants are kernel size / convolution groups
    / GroupNorm groups: T 5 / C / 32, B 7 / C / 16, S 5 / (C/8) / 16, L 7 / (C/8) / 16. Unlike the paper, a width which
    these do not divide takes the largest GroupNorm groups and the largest channels per convolution group below them
    that do divide it (48 channels, T: 24 GroupNorm groups); one warning and ``repr`` say so. Values that are given
    explicitly are never changed. Most copies in YOLO repositories have one dense convolution with a bias instead:
    that is ``conv_groups=1, bias=True``.

    ``init="identity"``: the weight of the GroupNorm starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        variant: ``"T"``, ``"B"``, ``"S"`` or ``"L"``.
        kernel_size: Odd kernel size instead of the variant's.
        conv_groups: Groups of the convolution instead of the variant's; has to divide ``channels``.
        norm_groups: Groups of the GroupNorm instead of the variant's; has to divide ``channels``.
        bias: Whether the convolution has a bias.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> ELA(64, variant="L")(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "ELA: Efficient Local Attention for Deep Convolutional Neural Networks", "https://arxiv.org/abs/2403.01123"
    )
    aliases = ("EfficientLocalizationAttention", "EfficientLocalAttention", "ELABlock")
    public: ClassVar = dict.fromkeys(("ELA", *aliases[:2]), ("kernel_size",))
    maps = ("rows", "columns")
    variants = ({"variant": "T"}, {"variant": "S", "norm_groups": 4, "bias": True}, {"variant": "L"})
    fused = "ela:ELA"

    def __init__(
        self,
        channels: int,
        variant: Literal["T", "B", "S", "L"] = "B",
        kernel_size: int | None = None,
        conv_groups: int | None = None,
        norm_groups: int | None = None,
        bias: bool = False,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        self.variant = variant
        kernel, group_width, groups = _VARIANTS[variant]
        kernel = kernel if kernel_size is None else check_odd("kernel_size", kernel_size)
        if conv_groups is None:
            conv_groups = channels // self.fit(f"variant {variant}: conv channels per group", group_width)
        if norm_groups is None:
            norm_groups = self.fit("norm groups", groups)
        check_divides("conv_groups", conv_groups, channels)
        check_divides("norm_groups", norm_groups, channels)
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=conv_groups, bias=bias)
        self.norm = nn.GroupNorm(norm_groups, channels)
        if init == "identity":
            nn.init.zeros_(self.norm.weight)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates along height ``(N, C, H, 1)`` and width ``(N, C, 1, W)``."""
        rows, columns = strips(x)
        rows, columns = rows.squeeze(3), columns.squeeze(2)  # (N, C, H), (N, C, W)
        if rows.shape == columns.shape and not is_traced():  # of a square map in one go
            rows, columns = self._gate(torch.cat((rows, columns))).chunk(2)
        else:
            rows, columns = self._gate(rows), self._gate(columns)
        return rows.unsqueeze(3), columns.unsqueeze(2)

    def _gate(self, strip: Tensor) -> Tensor:
        norm = self.norm  # as a function it takes a group of a single value, which normalises to 0
        z = torch.group_norm(self.conv(strip), norm.num_groups, norm.weight, norm.bias, norm.eps)
        return gate(z, self.scale)  # (N, C, length)
