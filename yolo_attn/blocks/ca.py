"""Coordinate Attention (CA).

Paper: Hou et al., "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021,
https://arxiv.org/abs/2103.02907
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks._common import INITS, Init, check_choice, check_int, folded, gate, gate_scale, zero_
from yolo_attn.blocks._recalibrate import recalibrate
from yolo_attn.blocks._statistics import strips


class CA(nn.Module):
    """Rescale each channel by one gate along the height and one along the width.

    ``f = h_swish(BN(W1 [mean_w(x), mean_h(x)]))``, split into ``f_h`` and ``f_w``, and
    ``y = x * sigmoid(Wh f_h) * sigmoid(Ww f_w)``, Eqs. 4-9. Not to be confused with "channel attention". As in the
    authors' release the non-linearity is h-swish and the hidden width has a floor (``min_hidden``).

    ``init="identity"``: ``Wh`` and ``Ww`` (and their biases) start at 0 and both gates are ``2 * sigmoid``, in (0, 2),
    hence 1 at first.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio; the hidden width is ``max(channels // reduction, min_hidden)``.
        min_hidden: Smallest hidden width.
        init: ``"paper"`` or ``"identity"`` (a fresh block returns its input exactly).

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> CA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(self, channels: int, reduction: int = 32, min_hidden: int = 8, *, init: Init = "paper") -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        hidden = max(channels // check_int("reduction", reduction), check_int("min_hidden", min_hidden))
        self.init = check_choice("init", init, INITS)
        self.scale = gate_scale(init)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1)
        self.conv_w = nn.Conv2d(hidden, channels, 1)
        if init == "identity":
            zero_(self.conv_h, self.conv_w)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates along height ``(N, C, H, 1)`` and width ``(N, C, 1, W)``.

        Both are in (0, 1), with ``init="identity"`` in (0, 2).
        """
        return self._gates(*strips(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times both gates."""
        return recalibrate(x, strips, self._gates)

    def _gates(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat((rows, columns.transpose(2, 3)), dim=2)  # (N, C, H+W, 1)
        f = F.hardswish(self.norm(self.reduce(both)))  # (N, hidden, H+W, 1)
        height = rows.shape[2]
        z_h = self.conv_h(f[:, :, :height])  # (N, C, H, 1)
        z_w = self.conv_w(f[:, :, height:]).transpose(2, 3)  # (N, C, 1, W)
        return gate(z_h, self.scale), gate(z_w, self.scale)

    def fuse(self) -> None:
        """Fold the BatchNorm into the convolution before it, for inference; it has nothing to train any more."""
        self.norm = folded(self.norm, self.reduce)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"
