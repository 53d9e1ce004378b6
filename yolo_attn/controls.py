"""Experimental controls for comparisons: rows that do nothing, and as many parameters without attention.

A model whose attention rows are replaced by :class:`IdentityControl` has the outputs of the model without these rows:
any difference to the baseline then comes from the tools, not from attention. :class:`PlainControl` replaces a block by
two plain convolutions with about as many parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from yolo_attn.host import registry


class IdentityControl(nn.Module):
    """A row that returns its input.

    Args:
        channels: Channels of input and output.
        init: Taken so that the row reads like a block's; there is nothing to initialise.

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``
    """

    def __init__(self, channels: int, init: Literal["paper", "identity"] = "identity"):
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x


class PlainControl(nn.Module):
    """A residual pair of 1x1 convolutions with about as many parameters as an attention block.

    ``y = x + W2 relu(W1 x)``, with a bias in ``W2`` where that comes nearer. The hidden width is at least 1, so of
    blocks with fewer than ``2 C`` parameters (ECA, sSE, SGE) it has more.

    Args:
        channels: Channels of input and output.
        like: YAML name of the block whose number of parameters is matched.
        hyper: That block's hyper-parameters.
        init: ``"identity"``: ``W2`` starts at 0. ``"paper"``: as torch initialises a convolution.

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        YoloAttnError: If there is no such block, or it does not take these hyper-parameters.
    """

    def __init__(
        self,
        channels: int,
        like: str = "SE",
        hyper: Mapping[str, Any] | None = None,
        init: Literal["paper", "identity"] = "identity",
    ):
        super().__init__()
        block = registry.create_attention(like, channels, **(hyper or {}))
        per_channel = max(round(sum(p.numel() for p in block.parameters()) / channels), 2)
        hidden, with_bias = divmod(per_channel, 2)
        self.channels, self.like = channels, like
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.expand = nn.Conv2d(hidden, channels, 1, bias=bool(with_bias))
        if init == "identity":
            for parameter in self.expand.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the output of the two convolutions."""
        return x + self.expand(self.reduce(x).relu())

    def extra_repr(self) -> str:
        """Return the arguments that the submodules do not show."""
        return f"{self.channels}, like={self.like}"


registry.add_control(IdentityControl)
registry.add_control(PlainControl)
