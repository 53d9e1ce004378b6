"""Efficient Local Attention (ELA).

Paper: Xu and Wan, "ELA: Efficient Local Attention for Deep Convolutional Neural Networks", arXiv 2024,
https://arxiv.org/abs/2403.01123
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks._common import (
    INITS,
    Init,
    check_choice,
    check_divides,
    check_int,
    check_odd,
    gate,
    gate_scale,
    group_norm,
    is_traced,
    largest_divisor,
    warn_once,
)
from yolo_attn.blocks._recalibrate import recalibrate
from yolo_attn.blocks._statistics import strips

# variant: (kernel size, channels per convolution group, GroupNorm groups)
_VARIANTS = {"T": (5, 1, 32), "B": (7, 1, 16), "S": (5, 8, 16), "L": (7, 8, 16)}


class ELA(nn.Module):
    """Rescale each channel by one gate along the height and one along the width, from local 1-D convolutions.

    ``y = x * sigmoid(GN(conv_k(mean_w(x)))) * sigmoid(GN(conv_k(mean_h(x))))``: as in the authors' code, one
    convolution without bias and one GroupNorm serve both directions. The variants are kernel size / convolution groups
    / GroupNorm groups: T 5 / C / 32, B 7 / C / 16, S 5 / (C/8) / 16, L 7 / (C/8) / 16. Unlike the paper, a width which
    these do not divide takes the largest GroupNorm groups and the largest channels per convolution group below them
    that do divide it (48 channels, T: 24 GroupNorm groups); one warning and ``repr`` say so. Values that are given
    explicitly are never changed.

    ``init="identity"``: the weight of the GroupNorm starts at 0 and both gates are ``2 * sigmoid``, in (0, 2), hence 1
    at first.

    Args:
        channels: Channels ``C`` of input and output.
        variant: ``"T"``, ``"B"``, ``"S"`` or ``"L"``.
        kernel_size: Odd kernel size instead of the variant's.
        conv_groups: Groups of the convolution instead of the variant's; has to divide ``channels``.
        norm_groups: Groups of the GroupNorm instead of the variant's; has to divide ``channels``.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range, or explicit groups do not divide ``channels``.

    Example:
        >>> import torch
        >>> ELA(64, variant="L")(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(
        self,
        channels: int,
        variant: Literal["T", "B", "S", "L"] = "B",
        kernel_size: int | None = None,
        conv_groups: int | None = None,
        norm_groups: int | None = None,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        self.variant = check_choice("variant", variant, _VARIANTS)
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.fallbacks: list[str] = []
        kernel, group_width, groups = _VARIANTS[variant]
        kernel = kernel if kernel_size is None else check_odd("kernel_size", kernel_size)
        if conv_groups is None:
            conv_groups = channels // self._fit("conv channels per group", group_width)
        if norm_groups is None:
            norm_groups = self._fit("norm groups", groups)
        check_divides("conv_groups", conv_groups, channels)
        check_divides("norm_groups", norm_groups, channels)
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=conv_groups, bias=False)
        self.norm = nn.GroupNorm(norm_groups, channels)
        if init == "identity":
            nn.init.zeros_(self.norm.weight)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates along height ``(N, C, H, 1)`` and width ``(N, C, 1, W)``.

        Both are in (0, 1), with ``init="identity"`` in (0, 2).
        """
        return self._gates(*strips(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times both gates."""
        return recalibrate(x, strips, self._gates)

    def _gates(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = rows.squeeze(3), columns.squeeze(2)  # (N, C, H), (N, C, W)
        if is_traced() or rows.shape != columns.shape:
            return self._gate(rows).unsqueeze(3), self._gate(columns).unsqueeze(2)
        both = self._gate(torch.cat((rows, columns)))  # of a square map in one go
        return both[: len(rows)].unsqueeze(3), both[len(rows) :].unsqueeze(2)

    def _gate(self, strip: Tensor) -> Tensor:
        return gate(group_norm(self.conv(strip), self.norm), self.scale)  # (N, C, length)

    def _fit(self, what: str, wanted: int) -> int:
        """Return ``wanted`` or, where it does not divide the channels, the largest divisor below it; then say so."""
        fitting = largest_divisor(self.channels, wanted)
        if fitting != wanted:
            self.fallbacks.append(f"{what} {wanted}->{fitting}")
            warn_once(
                "ELA",
                what,
                f"variant {self.variant} has {what} {wanted}, which does not divide {self.channels} channels; "
                f"{fitting} is used, and likewise the largest divisor at other such widths",
            )
        return fitting

    def extra_repr(self) -> str:
        """Show what the submodules do not, including what was adapted to the width."""
        return ", ".join([f"{self.channels}, variant={self.variant}, init={self.init}", *self.fallbacks])
