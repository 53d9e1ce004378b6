"""Selective Kernel (SK) convolution of SKNet, and the form of it that model YAMLs call SKAttention."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.ops import batch_norm, folded


class _Branch(nn.Module):
    """Convolution that keeps the size of the map, BatchNorm and ReLU."""

    def __init__(self, channels: int, kernel: int, dilation: int = 1, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        padding = kernel // 2 * dilation
        self.conv = nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=groups, bias=bias)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        return batch_norm(self.conv(x), self.norm).relu()


class SK(AttentionBlock):
    """Convolve with several kernel sizes and let each channel choose among the results.

    ``u_k = relu(BN(conv_k(x)))``, ``z = W1 mean_hw(sum_k u_k)``, and ``y = sum_k w_k * u_k`` with
    ``w_k = softmax_k(A_k z)``, one weight per channel and kernel. ``"copies"`` is what model YAMLs mean by SKAttention:
    dense convolutions of 1, 3, 5 and 7, and biases everywhere. ``"paper"`` is that of SKNet, Eqs. 1-6: two 3x3
    convolutions in 32 groups, the second one with dilation 2, ``z = relu(BN(W1 .))``, and no biases; a width that 32
    does not divide takes the largest number of groups that does. In training, a batch of one 1x1 map, which has no
    batch statistics, is normalised by the running ones.

    ``init="identity"``: the output is no multiple of ``x``, so ``y = x + gamma * (SK(x) - x)`` with a scalar ``gamma``
    that starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        form: ``"copies"`` or ``"paper"``.
        reduction: Bottleneck ratio; the width of ``z`` is ``max(channels // reduction, min_hidden)``.
        min_hidden: Smallest width of ``z``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SK(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("Selective Kernel Networks", "https://arxiv.org/abs/1903.06586")
    aliases = ("SKAttention", "SKConv", "SelectiveKernel")
    public: ClassVar = {"SKAttention": ("kernels=[1, 3, 5, 7]", "reduction", "group=1", "min_hidden")}
    maps = ("branches",)
    variants = ({"form": "paper"},)
    blends = True

    def __init__(
        self,
        channels: int,
        form: Literal["copies", "paper"] = "copies",
        reduction: int = 16,
        min_hidden: int = 32,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        self.form = form
        hidden = max(channels // reduction, min_hidden)
        if form == "copies":
            branches = [_Branch(channels, kernel) for kernel in (1, 3, 5, 7)]
        else:
            groups = self.fit("groups", 32)
            branches = [_Branch(channels, 3, dilation, groups, bias=False) for dilation in (1, 2)]
        bias = form == "copies"
        self.branches = nn.ModuleList(branches)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.Identity() if bias else nn.BatchNorm2d(hidden)
        self.select = nn.ModuleList(nn.Conv2d(hidden, channels, 1, bias=bias) for _ in branches)

    def attention(self, x: Tensor) -> Tensor:
        """Return the weights of the branches ``(N, K, C)``, summing to 1 over the ``K`` branches."""
        return self._weights(self._features(x)).squeeze(3).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the branches."""
        features = self._features(x)
        weights = self._weights(features)  # (N, C, K, 1)
        y: Tensor = sum(u * weights[:, :, k : k + 1] for k, u in enumerate(features))  # type: ignore[assignment]
        return y.to(x.dtype)

    def _features(self, x: Tensor) -> list[Tensor]:
        return [branch(x) for branch in self.branches]

    def _weights(self, features: list[Tensor]) -> Tensor:
        """Return the weights as ``(N, C, K, 1)``."""
        s = sum(u.mean((2, 3), keepdim=True) for u in features)  # (N, C, 1, 1)
        z = self.squeeze(s) if self.form == "copies" else batch_norm(self.squeeze(s), self.norm).relu()
        return torch.softmax(torch.cat([select(z) for select in self.select], 2), 2)

    def fuse(self) -> None:
        """Fold each BatchNorm into the convolution before it, for inference; they have nothing to train any more."""
        for branch in self.modules():
            if isinstance(branch, _Branch):
                branch.norm = folded(branch.norm, branch.conv)
        self.norm = folded(self.norm, self.squeeze)
