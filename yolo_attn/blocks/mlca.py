"""Mixed Local Channel Attention (MLCA)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import adaptive_kernel, conv_channels, gate, is_exported, multiply


class MLCA(AttentionBlock):
    """Rescale each channel in each of ``L x L`` cells by a mixture of a local gate and one of the whole channel.

    ``c`` are the means of the cells, ``(N, C, L, L)``. Local: ``sigmoid(conv1d_k(c))`` over all ``L^2 C`` values of an
    image in one row, cell after cell, zeros beyond both ends. Global: ``sigmoid(conv1d_k(mean(c)))`` over the ``C``
    channels. ``y = x * up(local_weight * local + (1 - local_weight) * global)``; ``up`` takes for each position the
    mean of the cells that overlap with it. Both kernels have the size of ECA's and no bias. In most copies
    the global gates of a batch become the rows of one map that multiplies every image; here images never mix.

    ``init="identity"``: both kernels start at 0.

    Args:
        channels: Channels ``C`` of input and output.
        local_size: Cells ``L`` along each side.
        local_weight: Share of the local gate, 0 to 1.
        gamma: Divisor in the adaptive kernel size, greater than 0.
        b: Offset in the adaptive kernel size.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> MLCA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "Mixed local channel attention for object detection", "https://doi.org/10.1016/j.engappai.2023.106442", 2023
    )
    aliases = ("MLCABlock", "MixedLocalChannelAttention")
    public: ClassVar = {"MLCA": ("local_size", "gamma", "b", "local_weight")}
    maps = ("cells",)
    variants = ({"local_size": 3, "local_weight": 0.75},)
    positive = ("gamma",)

    def __init__(
        self,
        channels: int,
        local_size: int = 5,
        local_weight: float = 0.5,
        gamma: float = 2,
        b: float = 1,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        if not 0 <= local_weight <= 1:
            raise ValueError(f"local_weight={local_weight} is out of range; give a number from 0 to 1")
        self.local_size, self.local_weight = local_size, local_weight
        k = adaptive_kernel(channels, gamma, b)
        self.local_conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.global_conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        if init == "identity":
            zero_(self.local_conv, self.global_conv)

    def attention(self, x: Tensor) -> Tensor:
        """Return the gate of each channel and cell ``(N, C, L, L)``."""
        side, overlaps = self.local_size, _overlaps(x, self.local_size) if is_exported() else None
        cells = F.adaptive_avg_pool2d(x, side) if overlaps is None else _down(x, *overlaps)  # (N, C, L, L)
        row = cells.permute(0, 2, 3, 1).reshape(x.shape[0], 1, side**2 * self.channels, 1)
        row = gate(conv_channels(row, self.local_conv), self.scale)
        local = row.reshape(x.shape[0], side, side, self.channels).permute(0, 3, 1, 2)
        means = cells.mean((2, 3), keepdim=True).transpose(1, 2)  # (N, 1, C, 1)
        whole = gate(conv_channels(means, self.global_conv), self.scale).transpose(1, 2)
        return self.local_weight * local + (1 - self.local_weight) * whole

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times the gates of its cells."""
        gates = self.attention(x)
        if is_exported():
            return multiply(x, _up(gates, *_overlaps(x, self.local_size)))
        return multiply(x, F.adaptive_avg_pool2d(gates, (x.shape[2], x.shape[3])))


def _overlaps(x: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Return which cells each row ``(1, 1, H, L)`` and each column ``(1, 1, L, W)`` overlaps with, as 1 or 0.

    Exported, adaptive pooling would fix the size of the map.
    """
    i = torch.arange(cells, device=x.device, dtype=torch.float32)
    rows = torch.ones_like(x[:1, :1, :, :1], dtype=torch.float32)
    columns = torch.ones_like(x[:1, :1, :1], dtype=torch.float32)
    return _overlap(rows, 2, i.view(1, 1, 1, -1)), _overlap(columns, 3, i.view(1, 1, -1, 1))


def _overlap(ones: Tensor, dim: int, i: Tensor) -> Tensor:
    """Return whether position ``j`` of ``n`` overlaps with cell ``i`` of ``L``, as 1 or 0.

    That is where ``i/L < (j+1)/n`` and ``j/n < (i+1)/L``.
    """
    after, n, cells = ones.cumsum(dim), ones.sum(dim, keepdim=True), i.numel()  # j + 1, n, L
    return ((i * n < cells * after) & (cells * (after - 1) < (i + 1) * n)).float()


def _down(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the mean of each cell ``(N, C, L, L)``."""
    rows, columns = rows / rows.sum(2, keepdim=True), columns / columns.sum(3, keepdim=True)
    return rows.transpose(2, 3).to(x.dtype) @ x @ columns.transpose(2, 3).to(x.dtype)


def _up(gates: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return for each position the mean of the cells that it overlaps with ``(N, C, H, W)``."""
    rows, columns = rows / rows.sum(3, keepdim=True), columns / columns.sum(2, keepdim=True)
    return rows.to(gates.dtype) @ gates @ columns.to(gates.dtype)
