"""Non-local (NL) block and its simplified form (SNL).

Papers:
    NL: Wang et al., "Non-local Neural Networks", CVPR 2018, https://arxiv.org/abs/1711.07971
    SNL: Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV Workshops 2019,
    https://arxiv.org/abs/1904.11492
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks._common import (
    INITS,
    Init,
    as_map,
    check_choice,
    check_int,
    is_traced,
    warn_once,
    zero_,
)
from yolo_attn.blocks._recalibrate import recalibrate
from yolo_attn.blocks._statistics import context
from yolo_attn.blocks._writes import add

_LARGE_MAP = 4096  # positions; 64 x 64, P4 of a 1024 px image


class NL(nn.Module):
    """Add to every position a weighted sum over all positions, weighted by pairwise similarity.

    ``y_i = x_i + Wz sum_j f(x_i, x_j) (Wg x_j)``, Eqs. 1 and 6. ``"embedded_gaussian"``:
    ``f = softmax_j(theta_i . phi_j)``, Eq. 3, without the ``1/sqrt(d)`` of Transformers. ``"dot_product"``:
    ``f = theta_i . phi_j / (H W)``, Eq. 4, computed as ``theta_i . (sum_j phi_j g_j^T) / (H W)``: the same value at a
    cost linear in the number of positions. In the Gaussian mode ``forward`` holds no ``HW x HW`` matrix where torch has
    a memory-efficient attention kernel, but its time grows with ``(H W)^2``: the block belongs at P4 or P5, and above
    4096 positions one warning says so. Unlike the paper: no subsampling of ``phi`` and ``g``, and no BatchNorm after
    ``Wz``; instead ``Wz`` itself starts at 0. Either ``init`` is therefore the identity at first.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Ratio of ``C`` to the embedding width, which is ``max(channels // reduction, 1)``.
        mode: ``"embedded_gaussian"`` or ``"dot_product"``.
        init: ``"paper"`` or ``"identity"``; the same here.

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> NL(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        mode: Literal["embedded_gaussian", "dot_product"] = "embedded_gaussian",
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        inner = max(channels // check_int("reduction", reduction), 1)
        self.mode = check_choice("mode", mode, ("embedded_gaussian", "dot_product"))
        self.init = check_choice("init", init, INITS)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        zero_(self.out)

    def attention(self, x: Tensor) -> Tensor:
        """Return the pairwise weights ``f`` as ``(N, HW, HW)``: row ``i`` weighs all ``j``. Forms the whole matrix."""
        self._warn_if_large(x)
        theta, phi = self.theta(x).flatten(2), self.phi(x).flatten(2)  # (N, inner, HW)
        pairs = theta.transpose(1, 2) @ phi  # (N, HW, HW)
        return torch.softmax(pairs, dim=2) if self.mode == "embedded_gaussian" else pairs / theta.shape[2]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the projected weighted sums."""
        theta, phi, g = self.theta(x).flatten(2), self.phi(x).flatten(2), self.g(x).flatten(2)  # (N, inner, HW)
        if self.mode == "embedded_gaussian":
            self._warn_if_large(x)
            query, key, value = (t.transpose(1, 2).unsqueeze(1).contiguous() for t in (theta, phi, g))
            y = F.scaled_dot_product_attention(query, key, value, scale=1.0)  # (N, 1, HW, inner)
            y = y.squeeze(1).transpose(1, 2)  # (N, inner, HW)
        else:
            y = (g / theta.shape[2]) @ phi.transpose(1, 2) @ theta  # (N, inner, inner) @ (N, inner, HW)
        return x + self.out(y.unflatten(2, x.shape[2:])).to(x.dtype)

    def _warn_if_large(self, x: Tensor) -> None:
        if is_traced() or x.shape[2] * x.shape[3] <= _LARGE_MAP:
            return
        positions = x.shape[2] * x.shape[3]
        size = positions**2 * x.element_size() / 2**20
        warn_once(
            "NL",
            "large map",
            f"a {x.shape[2]}x{x.shape[3]} map has {positions} positions, and comparing them pairwise takes a matrix of "
            f"{size:.0f} MiB per image where it has to be held; put the block at P4 or P5, or use mode='dot_product', "
            "SNL or GC",
        )

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, mode={self.mode}, init={self.init}"


class SNL(nn.Module):
    """Add to every position the same projected context: a non-local block whose weights ignore the query.

    ``y_i = x_i + Wv sum_j softmax_j(Wk x_j) x_j``. ``Wv`` starts at 0, so that either ``init`` is the identity at
    first.

    Args:
        channels: Channels ``C`` of input and output.
        init: ``"paper"`` or ``"identity"``; the same here.

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> SNL(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    def __init__(self, channels: int, *, init: Init = "paper") -> None:
        super().__init__()
        self.channels = check_int("channels", channels)
        self.init = check_choice("init", init, INITS)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        zero_(self.value)

    def attention(self, x: Tensor) -> Tensor:
        """Return the pooling weights ``(N, 1, H, W)``, summing to 1 over positions."""
        return context(x, self.mask.weight, self.mask.bias)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its projected context."""
        return recalibrate(x, context, self._term, self.mask.weight, self.mask.bias, write=add)

    def _term(self, context: Tensor, _: Tensor) -> tuple[Tensor]:
        return (as_map(F.linear(context.flatten(1), self.value.weight.flatten(1), self.value.bias)),)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"
