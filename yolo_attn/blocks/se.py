"""Squeeze-and-Excitation (SE) channel attention.

Paper: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, https://arxiv.org/abs/1709.01507
"""

from __future__ import annotations

from torch import Tensor, nn

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
from yolo_attn.blocks._recalibrate import recalibrate
from yolo_attn.blocks._statistics import mean_hw


class SE(nn.Module):
    """Rescale each channel by a gate computed from the global averages of all channels.

    ``y = x * sigmoid(W2 relu(W1 mean_hw(x)))``, Eqs. 2-4. Unlike the paper, the hidden width has a floor
    (``min_hidden``). The authors' release has biases in both layers: that is ``bias=True``.

    ``init="identity"``: ``W2`` (and its bias) starts at 0 and the gate is ``2 * sigmoid``, in (0, 2), hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        bias: Whether the two linear layers have biases.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> SE(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(
        self, channels: int, reduction: int = 16, bias: bool = False, min_hidden: int = 4, *, init: Init = "paper"
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        hidden = max(channels // check_int("reduction", reduction), check_int("min_hidden", min_hidden))
        check_bool("bias", bias)
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)
        if init == "identity":
            zero_(self.excite)

    def attention(self, x: Tensor) -> Tensor:
        """Return the channel gate ``(N, C, 1, 1)``, in (0, 1), with ``init="identity"`` in (0, 2)."""
        return self._gates(*mean_hw(x))[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its channel gate."""
        return recalibrate(x, mean_hw, self._gates)

    def _gates(self, mean: Tensor) -> tuple[Tensor]:
        return (gate(bottleneck(mean, self.squeeze, self.excite), self.scale),)  # (N, C, 1, 1)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"
