"""Channel (cSE), spatial (sSE), and concurrent spatial and channel (scSE) squeeze and excitation.

Paper: Roy et al., "Concurrent Spatial and Channel 'Squeeze & Excitation' in Fully Convolutional Networks",
MICCAI 2018, https://arxiv.org/abs/1803.02579
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolo_attn.blocks._common import (
    INITS,
    Init,
    bottleneck,
    check_bool,
    check_choice,
    check_int,
    gate,
    gate_scale,
    zero_,
)
from yolo_attn.blocks._recalibrate import is_plain, recalibrate
from yolo_attn.blocks._statistics import mean_and_projection, mean_hw, project_c
from yolo_attn.blocks._writes import larger_product, multiply, multiply_by_sum

_WRITES = {"add": multiply_by_sum, "max": larger_product, "mul": multiply}


class CSE(nn.Module):
    """Rescale each channel by a gate computed from the global averages of all channels.

    ``y = x * sigmoid(W1 relu(W2 mean_hw(x)))``: SE with a mild bottleneck, ``C / 2``.

    ``init="identity"``: ``W1`` (and its bias) starts at 0 and the gate is ``2 * sigmoid``, in (0, 2), hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, 1)``.
        bias: Whether the two linear layers have biases.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> CSE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(self, channels: int, reduction: int = 2, bias: bool = False, *, init: Init = "paper") -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        hidden = max(channels // check_int("reduction", reduction), 1)
        check_bool("bias", bias)
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)
        if init == "identity":
            zero_(self.excite)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``, in (0, 1), with ``init="identity"`` in (0, 2)."""
        return self.gates(*mean_hw(x))[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its channel gate."""
        return recalibrate(x, mean_hw, self.gates)

    def gates(self, mean: Tensor) -> tuple[Tensor]:
        """Return the gate ``(N, C, 1, 1)`` for the means ``(N, C, 1, 1)``."""
        return (gate(bottleneck(mean, self.squeeze, self.excite), self.scale),)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"


class SSE(nn.Module):
    """Rescale each position by a gate computed from its channels.

    ``y = x * sigmoid(w . x)``, a 1x1 convolution to one channel.

    ``init="identity"``: ``w`` (and its bias) starts at 0 and the gate is ``2 * sigmoid``, in (0, 2), hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        bias: Whether the convolution has a bias.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> SSE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(self, channels: int, bias: bool = False, *, init: Init = "paper") -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        check_bool("bias", bias)
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.conv = nn.Conv2d(channels, 1, 1, bias=bias)
        if init == "identity":
            zero_(self.conv)

    def attention(self, x: Tensor) -> Tensor:
        """Return the spatial gate ``(N, 1, H, W)``, in (0, 1), with ``init="identity"`` in (0, 2)."""
        return self.gates(*project_c(x, self.conv.weight))[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its spatial gate."""
        return recalibrate(x, project_c, self.gates, self.conv.weight)

    def gates(self, projection: Tensor) -> tuple[Tensor]:
        """Return the gate ``(N, 1, H, W)`` for the convolution's result ``(N, 1, H, W)``, still without its bias."""
        return (gate(projection if self.conv.bias is None else projection + self.conv.bias, self.scale),)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"


class SCSE(nn.Module):
    """Recalibrate by cSE and by sSE side by side and combine the two.

    With ``c`` the channel gate and ``s`` the spatial gate, ``y`` is ``x * c + x * s`` (``"add"``, the paper's equation
    and most libraries), ``max(x * c, x * s)`` (``"max"``, the authors' release), ``x * c * s`` (``"mul"``; the gates
    are multiplied, not the two maps, which would square ``x``), or ``W [x * c, x * s]`` (``"concat"``). Concatenation
    doubles the channels, and ``W``, a 1x1 convolution from ``2C`` to ``C`` without bias which the paper does not have,
    brings them back.

    ``init="identity"``: the last layers of both gates start at 0. With ``"max"`` and ``"mul"`` the gates are
    ``2 * sigmoid``, in (0, 2), hence 1 at first; with ``"add"`` they stay at 1/2, which already sums to 1. With
    ``"concat"`` it is ``W`` that starts at 0, the gates start as in the paper, and ``y = x + W [x * c, x * s]``: this
    one keeps a residual that ``init="paper"`` does not have.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio of cSE; its hidden width is ``max(channels // reduction, 1)``.
        bias: Whether the layers of cSE and sSE have biases.
        combine: ``"add"``, ``"max"``, ``"mul"`` or ``"concat"``.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    References:
        Roy et al., "Recalibrating Fully Convolutional Networks with Spatial and Channel 'Squeeze & Excitation'
        Blocks", IEEE TMI 2019, https://arxiv.org/abs/1808.08127 (compares the ways to combine)

    Example:
        >>> SCSE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        bias: bool = False,
        combine: Literal["add", "max", "mul", "concat"] = "add",
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__()
        self.combine = check_choice("combine", combine, ("add", "max", "mul", "concat"))
        self.init = check_choice("init", init, INITS)
        gate_init = "paper" if combine == "concat" else init
        self.cse = CSE(channels, reduction, bias, init=gate_init)
        self.sse = SSE(channels, bias, init=gate_init)
        self.channels = channels
        if combine == "add":
            self.cse.scale = self.sse.scale = 1.0
        self.proj = nn.Conv2d(2 * channels, channels, 1, bias=False) if combine == "concat" else None
        if init == "identity" and self.proj is not None:
            zero_(self.proj)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel gate ``(N, C, 1, 1)`` and the spatial gate ``(N, 1, H, W)``.

        Both are in (0, 1), with ``init="identity"`` and ``"max"`` or ``"mul"`` in (0, 2).
        """
        return self.cse.attention(x), self.sse.attention(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` recalibrated by both gates."""
        if self.proj is None:
            write = _WRITES[self.combine]
            return recalibrate(x, mean_and_projection, self._gates, self.sse.conv.weight, write=write)
        c, s = self.attention(x)
        y = self._mix(x, c, s) if is_plain() else checkpoint(self._mix, x, c, s, use_reentrant=False)
        return x + y if self.init == "identity" else y

    def _mix(self, x: Tensor, c: Tensor, s: Tensor) -> Tensor:
        """Return ``W [x * c, x * s]``; the doubled map is not kept for the backward pass."""
        return self.proj(torch.cat((x * c.to(x.dtype), x * s.to(x.dtype)), dim=1)).to(x.dtype)  # 2C -> C

    def _gates(self, mean: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
        return *self.cse.gates(mean), *self.sse.gates(projection)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, combine={self.combine}, init={self.init}"
