"""Channel (cSE), spatial (sSE), and concurrent spatial and channel (scSE) squeeze and excitation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import bottleneck, gate, in_place, multiply, project

_PAPER = Paper(
    "Concurrent Spatial and Channel 'Squeeze & Excitation' in Fully Convolutional Networks",
    "https://arxiv.org/abs/1803.02579",
)


class CSE(AttentionBlock):
    """Rescale each channel by a gate computed from the global averages of all channels.

    ``y = x * sigmoid(W1 relu(W2 mean_hw(x)))``: SE with a mild bottleneck, ``C / 2``.

    ``init="identity"``: ``W1`` (and its bias) starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, 1)``.
        bias: Whether the two linear layers have biases.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> CSE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    yaml_name = "cSE"
    paper = _PAPER
    aliases = ("CSE", "ChannelSE")
    maps = ("channel",)
    variants = ({"bias": True},)
    fused = "channel:SE"

    def __init__(self, channels: int, reduction: int = 2, bias: bool = False, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)
        if init == "identity":
            zero_(self.excite)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``."""
        s = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return gate(bottleneck(s, self.squeeze, self.excite), self.scale)


class SSE(AttentionBlock):
    """Rescale each position by a gate computed from its channels.

    ``y = x * sigmoid(w . x)``, a 1x1 convolution to one channel.

    ``init="identity"``: ``w`` (and its bias) starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        bias: Whether the convolution has a bias.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SSE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    yaml_name = "sSE"
    paper = _PAPER
    aliases = ("SSE", "SpatialSE")
    maps = ("spatial",)
    variants = ({"bias": True},)
    fused = "sse:SSE"

    def __init__(self, channels: int, bias: bool = False, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.conv = nn.Conv2d(channels, 1, 1, bias=bias)
        if init == "identity":
            zero_(self.conv)

    def attention(self, x: Tensor) -> Tensor:
        """Return the spatial gate ``(N, 1, H, W)``."""
        return gate(project(x, self.conv), self.scale)


class SCSE(AttentionBlock):
    """Recalibrate by cSE and by sSE side by side and combine the two.

    With ``c`` the channel gate and ``s`` the spatial gate, ``y`` is ``x * c + x * s`` (``"add"``, the paper's equation
    and most libraries), ``max(x * c, x * s)`` (``"max"``, the authors' release), ``x * c * s`` (``"mul"``; the gates
    are multiplied, not the two maps, which would square ``x``), or ``W [x * c, x * s]`` (``"concat"``). Concatenation
    doubles the channels, and ``W``, a 1x1 convolution from ``2C`` to ``C`` without bias which the paper does not have,
    brings them back. The ways to combine are compared in Roy et al., IEEE TMI 2019, https://arxiv.org/abs/1808.08127.
    Most copies have ``reduction=16, bias=True``.

    ``init="identity"``: the last layers of both gates start at 0. With ``"max"`` and ``"mul"`` the gates are
    ``2 * sigmoid``; with ``"add"`` they stay at 1/2, which already sums to 1. With ``"concat"`` it is ``W`` that starts
    at 0, the gates start as in the paper, and ``y = x + W [x * c, x * s]``: this one keeps a residual that
    ``init="paper"`` does not have.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio of cSE; its hidden width is ``max(channels // reduction, 1)``.
        bias: Whether the layers of cSE and sSE have biases.
        combine: ``"add"``, ``"max"``, ``"mul"`` or ``"concat"``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> SCSE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    yaml_name = "scSE"
    paper = _PAPER
    aliases = ("SCSE", "ScSEBlock", "SCSEModule", "scse_block")
    maps = ("channel", "spatial")
    variants = ({"combine": "max"}, {"combine": "mul"}, {"combine": "concat"})
    fused = "channel:SCSE"

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        bias: bool = False,
        combine: Literal["add", "max", "mul", "concat"] = "add",
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        self.combine = combine
        gate_init: Init = "paper" if combine == "concat" else init
        self.cse = CSE(channels, reduction, bias, init=gate_init)
        self.sse = SSE(channels, bias, init=gate_init)
        if combine == "add":
            self.cse.scale = self.sse.scale = 1.0
        self.proj = nn.Conv2d(2 * channels, channels, 1, bias=False) if combine == "concat" else None
        if init == "identity" and self.proj is not None:
            zero_(self.proj)

    @property
    def tops(self) -> tuple[float | None, ...]:
        """Upper ends of the gates' ranges."""
        return self.cse.scale, self.sse.scale

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel gate ``(N, C, 1, 1)`` and the spatial gate ``(N, 1, H, W)``."""
        return self.cse.attention(x), self.sse.attention(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` recalibrated by both gates."""
        c, s = (gate.to(x.dtype) for gate in self.attention(x))
        if self.combine == "add":
            return torch.add(c, s, out=torch.empty_like(x)).mul_(x) if in_place() else x * (c + s)
        if self.combine == "mul":
            return multiply(x, c, s)
        if self.proj is None:
            return torch.maximum(x * c, x * s)
        y: Tensor = self.proj(torch.cat((x * c, x * s), dim=1)).to(x.dtype)  # 2C -> C
        return x + y if self.init == "identity" else y
