"""Channel Prior Convolutional Attention (CPCA)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper
from yolo_attn.blocks.msca import LENGTHS
from yolo_attn.blocks.ops import bottleneck, depthwise, max_hw, multiply, strip_convs


class CPCA(AttentionBlock):
    """Rescale each channel by a gate, then each value by a factor computed from neighbourhoods of four sizes.

    ``u = GELU(W x)``, ``v = u * (sigmoid(MLP(mean_hw(u))) + sigmoid(MLP(max_hw(u))))`` with one shared MLP
    ``W2 relu(W1 .)``, and ``y = W(v * W(a + sum_k DW_v(DW_h(a))))`` with ``a = DW5(v)`` and ``k`` in 7, 11 and 21, Eqs.
    1-6. As in the authors' release one 1x1 convolution ``W`` is used three times, and all layers have biases. The
    factor takes either sign and has no bound. As published the output is near 0 at first and is no multiple of ``x``,
    which hides the features of a pretrained network.

    ``init="identity"``: nothing in it can start at 1, so ``y = x + gamma * (CPCA(x) - x)`` with a scalar ``gamma`` that
    starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, 1)``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> CPCA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "Channel prior convolutional attention for medical image segmentation", "https://arxiv.org/abs/2306.05196"
    )
    aliases = ("CPCABlock", "CPCAAttention")
    maps = ("channel", "factors")
    blends = True

    def __init__(self, channels: int, reduction: int = 4, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        hidden = max(channels // reduction, 1)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.local = depthwise(channels, 5, 5)
        self.strips = nn.ModuleList(strip_convs(channels, length) for length in LENGTHS)

    @property
    def tops(self) -> tuple[float | None, ...]:
        """Upper end of the channel gate's range, a sum of two sigmoids; the factors have none."""
        return 2.0, None

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel gate ``(N, C, 1, 1)`` and the factor of every value ``(N, C, H, W)``."""
        u = F.gelu(self.mix(x))
        channel = self._channel_gate(u)
        return channel, self._factors(multiply(u, channel))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed product of the gated features and their factors."""
        u = F.gelu(self.mix(x))
        v = multiply(u, self._channel_gate(u), overwrite=True)
        y: Tensor = self.mix(multiply(v, self._factors(v), overwrite=True))
        return y.to(x.dtype)

    def _channel_gate(self, u: Tensor) -> Tensor:
        pooled = torch.cat((u.mean((2, 3), keepdim=True), max_hw(u)), dim=3)  # (N, C, 1, 2)
        return torch.sigmoid(bottleneck(pooled, self.squeeze, self.excite)).sum(3, keepdim=True)

    def _factors(self, v: Tensor) -> Tensor:
        a = self.local(v)
        factors: Tensor = self.mix(sum((strip(a) for strip in self.strips), a))
        return factors
