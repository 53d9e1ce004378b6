"""Simple, parameter-free attention (SimAM)."""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import no_autocast, other_positions


class SimAM(AttentionBlock):
    """Rescale each value by how far it is from the mean of its channel; nothing is learned.

    ``y = x * sigmoid((x - mu)^2 / (4 (v + eps)) + 1/2)``, Eq. 5 with the inverse of the minimal energy, where ``mu`` is
    the mean of a channel over its positions and ``v = sum_hw (x - mu)^2 / (HW - 1)``. ``eps`` is the paper's
    ``lambda``. The statistics are computed in float32 for half precision, and the variance of a single position (a 1x1
    map) is 0.

    The gate is above 0.62 everywhere and cannot start at 1. ``init="identity"`` adds a scalar ``gamma``, initially 0,
    and the block returns ``x + gamma * (block(x) - x)``.

    Args:
        channels: Channels ``C`` of input and output; the block needs no number of them.
        eps: Added to the variance.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SimAM(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks",
        "https://proceedings.mlr.press/v139/yang21o.html",
        2021,
    )
    aliases = ("Simam", "simam_module", "SimAMBlock")
    maps = ("full",)
    variants = ({"eps": 0.1},)
    fused = "own:SimAM"
    positive = ("eps",)
    blends = True

    def __init__(self, channels: int, eps: float = 1e-4, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.eps = eps

    def attention(self, x: Tensor) -> Tensor:
        """Return the gate of every value ``(N, C, H, W)``."""
        with no_autocast(x.device.type):
            wide = x if x.dtype == torch.float64 else x.float()
            squares = (wide - wide.mean((2, 3), keepdim=True)).square()
            v = squares.sum((2, 3), keepdim=True) / other_positions(wide)  # (N, C, 1, 1)
            return torch.sigmoid(squares / (4 * (v + self.eps)) + 0.5).to(x.dtype)
