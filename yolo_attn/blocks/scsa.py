"""Spatial and Channel Synergistic Attention (SCSA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks._checks import check_int, check_odd
from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import gate, is_exported, multiply, strips

_PARTS = 4  # of the channels, each convolved with a kernel size of its own; also the groups of the strips' GroupNorms


class SCSA(AttentionBlock):
    """Rescale each channel by gates along height and width, then by one from self-attention among the channels.

    Spatial: each quarter of the channels has a depthwise 1-D convolution, of 3, 5, 7 and 9, which serves both
    directions; ``x' = x * sigmoid(GN_h(conv(mean_w(x)))) * sigmoid(GN_w(conv(mean_h(x))))`` with four groups each.
    Channel: ``z = GN_1(mean_7x7(x'))`` over windows side by side, leaving out incomplete ones; ``q``, ``k`` and ``v``
    are ``z`` times one weight per channel, and ``y = x' * sigmoid(mean_hw(softmax(q k^T / sqrt(C / heads)) v))`` with
    ``heads`` groups of channels, Eqs. 1-10. Unlike the authors' release, which fails there, a side of the map that is
    shorter than the window is one window, and where the heads do not divide the channels the largest number that does
    is used; one warning and ``repr`` say so.

    ``init="identity"``: the weights of ``GN_h`` and ``GN_w`` and ``v`` start at 0.

    Args:
        channels: Channels ``C`` of input and output; a multiple of 4.
        window: Side of the windows that are averaged.
        kernels: Four odd lengths of the convolutions.
        heads: Number of groups of channels that attend to each other.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SCSA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "SCSA: Exploring the Synergistic Effects Between Spatial and Channel Attention",
        "https://arxiv.org/abs/2407.05128",
    )
    aliases = ("SCSABlock", "SpatialChannelSynergisticAttention")
    public: ClassVar = {"SCSA": ("heads", "window")}
    maps = ("rows", "columns", "channel")
    variants = ({"window": 2, "heads": 4},)

    def __init__(
        self,
        channels: int,
        window: int = 7,
        kernels: Sequence[int] = (3, 5, 7, 9),
        heads: int = 8,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        self.window, self.kernels = window, _four_odd(kernels)
        if channels % _PARTS:
            raise ValueError(
                f"channels={channels} cannot be split into {_PARTS} equal parts; give a multiple of {_PARTS}"
            )
        self.heads = self.fit("heads", heads)
        part = channels // _PARTS
        self.convs = nn.ModuleList(nn.Conv1d(part, part, k, padding=k // 2, groups=part) for k in self.kernels)
        self.norm_h = nn.GroupNorm(_PARTS, channels)
        self.norm_w = nn.GroupNorm(_PARTS, channels)
        self.norm = nn.GroupNorm(1, channels)
        self.q = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
        self.k = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
        self.v = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
        if init == "identity":
            for weight in (self.norm_h.weight, self.norm_w.weight, self.v.weight):
                nn.init.zeros_(weight)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gates along height ``(N, C, H, 1)`` and width ``(N, C, 1, W)``, and the channel gate."""
        rows, columns = self._strip_gates(x)
        return rows, columns, self._channel_gate(multiply(x, rows, columns))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its strip gates, times the channel gate of that product."""
        x = multiply(x, *self._strip_gates(x))
        return multiply(x, self._channel_gate(x), overwrite=True)

    def _strip_gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = strips(x)
        rows = self._strip_gate(rows.squeeze(3), self.norm_h)  # (N, C, H)
        columns = self._strip_gate(columns.squeeze(2), self.norm_w)  # (N, C, W)
        return rows.unsqueeze(3), columns.unsqueeze(2)

    def _strip_gate(self, strip: Tensor, norm: nn.GroupNorm) -> Tensor:
        z = torch.cat([conv(part) for conv, part in zip(self.convs, strip.chunk(_PARTS, 1), strict=True)], 1)
        return gate(torch.group_norm(z, _PARTS, norm.weight, norm.bias, norm.eps), self.scale)

    def _channel_gate(self, x: Tensor) -> Tensor:
        z, mean = self._exported_windows(x) if is_exported() else self._windows(x)
        q, k, v = self._by_head(self.q(z)), self._by_head(self.k(z)), self._by_head(self.v(mean))
        weights = torch.softmax(
            q @ k.transpose(2, 3) * (self.channels / self.heads) ** -0.5, 3
        )  # (N, heads, C/heads, C/heads)
        attended = weights @ v  # (N, heads, C/heads, 1); the mean of all positions is that of their mean
        return gate(attended.flatten(1, 2).unsqueeze(3), self.scale)

    def _by_head(self, z: Tensor) -> Tensor:
        """Return ``(N, C, h, w)`` as ``(N, heads, C/heads, hw)``."""
        width = self.channels // self.heads
        if is_exported():
            return z.reshape(z.shape[0], self.heads, width, -1)
        return z.reshape(z.shape[0], self.heads, width, z.shape[2] * z.shape[3])  # also of an empty batch

    def _windows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised averages of the windows ``(N, C, h, w)``, and their mean ``(N, C, 1, 1)``."""
        z = F.avg_pool2d(x, (min(self.window, x.shape[2]), min(self.window, x.shape[3])))
        z = torch.group_norm(z, 1, self.norm.weight, self.norm.bias, self.norm.eps)
        return z, z.mean((2, 3), keepdim=True)

    def _exported_windows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same for a map of any size: averages of all windows, with zeros for the incomplete ones.

        Complete are those that cover the most positions, so that a map smaller than the window has one.
        """
        beyond = (0, self.window - 1, 0, self.window - 1)
        covered = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), beyond), self.window)  # (1, 1, h, w)
        z = F.avg_pool2d(F.pad(x, beyond), self.window) / covered
        whole = (covered > 0.99 * covered.amax((2, 3), keepdim=True)).to(x.dtype)
        count = whole.sum((2, 3), keepdim=True)
        mean = (z * whole).mean(1, keepdim=True).sum((2, 3), keepdim=True) / count
        squares = ((z - mean).square() * whole).mean(1, keepdim=True).sum((2, 3), keepdim=True) / count
        z = (z - mean) / (squares + self.norm.eps).sqrt()
        z = (z * self.norm.weight.view(-1, 1, 1) + self.norm.bias.view(-1, 1, 1)) * whole
        return z, z.sum((2, 3), keepdim=True) / count


def _four_odd(kernels: Sequence[int]) -> tuple[int, ...]:
    advice = f"give {_PARTS} sizes, e.g. kernels=[3, 5, 7, 9]"
    if not isinstance(kernels, (list, tuple)):
        raise TypeError(f"kernels={kernels!r} is a {type(kernels).__name__}; {advice}")
    if len(kernels) != _PARTS:
        raise ValueError(f"kernels={kernels} has the length {len(kernels)}; {advice}")
    for kernel in kernels:
        check_int("kernels", kernel)
        check_odd("kernels", kernel)
    return tuple(kernels)
