"""Convolutional Block Attention Module (CBAM), the paper's.

Paper: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, https://arxiv.org/abs/1807.06521
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.blocks._common import (
    INITS,
    Init,
    as_map,
    batch_norm,
    bottleneck,
    check_choice,
    check_int,
    check_odd,
    folded,
    gate,
    gate_scale,
    is_exported,
    zero_,
)
from yolo_attn.blocks._recalibrate import Recalibration
from yolo_attn.blocks._statistics import max_mean_c, mean_max_hw
from yolo_attn.blocks._writes import multiply


class CBAM(nn.Module):
    """Rescale each channel, then each position, by gates computed from averages and maxima.

    ``x' = x * sigmoid(MLP(mean_hw(x)) + MLP(max_hw(x)))`` with one shared MLP ``W1 relu(W0 .)``, Eq. 2, then
    ``y = x' * sigmoid(BN(conv_k([max_c(x'), mean_c(x')])))``, Eq. 3. As in the authors' release the MLP has biases, the
    convolution has none, and a BatchNorm over one channel (momentum 0.01) follows it. Unlike the paper, the hidden
    width has a floor (``min_hidden``), and in training a batch of one 1x1 map, which has no batch statistics, is
    normalised by the running ones.

    ``init="identity"``: ``W1`` with its bias and the weight of the BatchNorm start at 0 and both gates are
    ``2 * sigmoid``, in (0, 2), hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        kernel_size: Odd kernel size of the spatial convolution.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range, e.g. an even ``kernel_size``.

    Example:
        >>> CBAM(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(
        self, channels: int, reduction: int = 16, kernel_size: int = 7, min_hidden: int = 4, *, init: Init = "paper"
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        hidden = max(channels // check_int("reduction", reduction), check_int("min_hidden", min_hidden))
        check_odd("kernel_size", kernel_size)
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)
        if init == "identity":
            zero_(self.excite)
            nn.init.zeros_(self.norm.weight)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel gate ``(N, C, 1, 1)`` and the spatial gate ``(N, 1, H, W)``, the second for the gated map.

        Both are in (0, 1), with ``init="identity"`` in (0, 2).
        """
        channel = self._channel_gate(*mean_max_hw(x))
        return channel, self._spatial_gate(*max_mean_c(x, channel))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its channel gate, times the spatial gate of that product."""
        run = Recalibration(x)
        channel = self._channel_gate(*run.read(mean_max_hw))
        spatial = self._spatial_gate(*run.read(max_mean_c, channel))
        return run.write(multiply, channel, spatial)

    def _channel_gate(self, mean: Tensor, largest: Tensor) -> Tensor:
        if is_exported():
            z = bottleneck(mean, self.squeeze, self.excite) + bottleneck(largest, self.squeeze, self.excite)
            return gate(z, self.scale)  # (N, C, 1, 1)
        pooled = torch.stack((mean, largest)).flatten(2)  # (2, N, C): one pass through the shared layers
        of_mean, of_max = self.excite(torch.relu(self.squeeze(pooled)))
        return as_map(gate(of_mean + of_max, self.scale))  # (N, C, 1, 1)

    def _spatial_gate(self, pooled: Tensor) -> Tensor:
        return gate(batch_norm(self.conv(pooled), self.norm), self.scale)  # (N, 1, H, W)

    def fuse(self) -> None:
        """Fold the BatchNorm into the convolution before it, for inference; it has nothing to train any more."""
        self.norm = folded(self.norm, self.conv)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"
