"""Efficient Channel Attention (ECA).

Paper: Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020,
https://arxiv.org/abs/1910.03151
"""

from __future__ import annotations

import math

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks._common import (
    INITS,
    Init,
    as_map,
    check_choice,
    check_int,
    check_number,
    check_odd,
    check_positive,
    gate,
    gate_scale,
    is_exported,
    is_traced,
    zero_,
)
from yolo_attn.blocks._recalibrate import recalibrate
from yolo_attn.blocks._statistics import mean_hw


class ECA(nn.Module):
    """Rescale each channel by a gate computed from the global averages of its ``k`` neighbours.

    ``y = x * sigmoid(conv1d_k(mean_hw(x)))``; one kernel without bias slides over the channels, zeros beyond
    both ends. ``k`` follows from the width: ``t = int(abs((log2 C + b) / gamma))``, and ``k`` is ``t`` if odd,
    else ``t + 1``. (The paper's ResNet-50 with 80 extra parameters has explicit sizes instead: 3, 5, 5, 7.)

    ``init="identity"``: the kernel starts at 0 and the gate is ``2 * sigmoid``, in (0, 2), hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        kernel_size: Odd kernel size ``k``; ``None`` computes it from ``channels``, ``gamma`` and ``b``.
        gamma: Divisor in the adaptive size.
        b: Offset in the adaptive size.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range, e.g. an even ``kernel_size``.

    Example:
        >>> import torch
        >>> ECA(256).kernel_size
        5
        >>> ECA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(
        self, channels: int, kernel_size: int | None = None, gamma: float = 2, b: float = 1, *, init: Init = "paper"
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        check_positive("gamma", gamma)
        check_number("b", b)
        if kernel_size is None:
            t = int(abs((math.log2(channels) + b) / gamma))
            kernel_size = t if t % 2 else t + 1
        self.kernel_size = check_odd("kernel_size", kernel_size)
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        if init == "identity":
            zero_(self.conv)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``, in (0, 1), with ``init="identity"`` in (0, 2)."""
        return self._gates(*mean_hw(x))[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its channel gate."""
        return recalibrate(x, mean_hw, self._gates)

    def _gates(self, mean: Tensor) -> tuple[Tensor]:
        if is_exported():
            slid = self.conv(mean.squeeze(3).transpose(1, 2)).transpose(1, 2).unsqueeze(3)
            return (gate(slid, self.scale),)  # (N, C, 1, 1)
        return (as_map(gate(self._slide(mean.flatten(1)), self.scale)),)  # (N, C, 1, 1)

    def _slide(self, mean: Tensor) -> Tensor:
        """Convolve over the channels, ``(N, C)`` -> ``(N, C)``; for so few values windows are faster than a layer."""
        if is_traced():
            return self.conv(mean.unsqueeze(1)).squeeze(1)
        beyond = self.kernel_size // 2
        windows = F.pad(mean, (beyond, beyond)).unfold(1, self.kernel_size, 1)  # (N, C, k)
        return windows @ self.conv.weight.flatten()

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"
