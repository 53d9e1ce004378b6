"""Non-local (NL) block and its simplified form (SNL)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import context, is_exported, is_traced

_SMALL_MAP = 512  # positions; 20 x 20, P5 of a 640 px image, is below
_LARGE_MAP = 4096  # positions; 64 x 64, P4 of a 1024 px image


class NL(AttentionBlock):
    """Add to every position a weighted sum over all positions, weighted by pairwise similarity.

    ``y_i = x_i + Wz sum_j f(x_i, x_j) (Wg x_j)``, Eqs. 1 and 6. ``"embedded_gaussian"``:
    ``f = softmax_j(theta_i . phi_j)``, Eq. 3, without the ``1/sqrt(d)`` of Transformers. ``"dot_product"``:
    ``f = theta_i . phi_j / (H W)``, Eq. 4, computed as ``theta_i . (sum_j phi_j g_j^T) / (H W)``: the same value at a
    cost linear in the number of positions. In the Gaussian mode ``forward`` holds no ``HW x HW`` matrix of more than
    512 positions where torch has a memory-efficient attention kernel, but its time grows with ``(H W)^2``: the block
    belongs at P4 or P5, and above 4096 positions one warning says so. Unlike the paper: no subsampling of ``phi`` and
    ``g``, and no BatchNorm after ``Wz``; instead ``Wz`` itself starts at 0. Either ``init`` is therefore the identity
    at first.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Ratio of ``C`` to the embedding width, which is ``max(channels // reduction, 1)``.
        mode: ``"embedded_gaussian"`` or ``"dot_product"``.
        init: ``"paper"`` or ``"identity"``; the same here.

    Example:
        >>> NL(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("Non-local Neural Networks", "https://arxiv.org/abs/1711.07971")
    aliases = ("NonLocal", "NonLocalBlock", "NLBlock", "NLBlockND")
    maps = ("pairs",)
    variants = ({"mode": "dot_product"},)

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        mode: Literal["embedded_gaussian", "dot_product"] = "embedded_gaussian",
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        inner = max(channels // reduction, 1)
        self.mode = mode
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
        theta, phi, g = self._project(x)  # (N, inner, HW)
        if self.mode == "dot_product":
            positions = torch.ones_like(x[:1, :1]).sum() if is_exported() else theta.shape[2]
            y = (g @ phi.transpose(1, 2) / positions) @ theta  # (N, inner, inner) @ (N, inner, HW)
        elif self._is_small(x):
            y = g @ torch.softmax(phi.transpose(1, 2) @ theta, dim=1)  # column i weighs all j
        else:
            self._warn_if_large(x)
            parts = (part.transpose(1, 2).unsqueeze(1) for part in (theta, phi, g))  # (N, 1, HW, inner)
            query, key, value = parts if is_exported() else (part.contiguous() for part in parts)
            y = F.scaled_dot_product_attention(query, key, value, scale=1.0).squeeze(1).transpose(1, 2)
        z: Tensor = self.out(y.reshape(x.shape[0], self.out.in_channels, *x.shape[2:]))
        return x + z.to(x.dtype)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return theta, phi and g of every position, ``(N, inner, HW)`` each, in one product."""
        layers = (self.theta, self.phi, self.g)
        if is_exported():
            return tuple(layer(x).flatten(2) for layer in layers)
        weight = torch.cat([layer.weight for layer in layers])
        bias = torch.cat([layer.bias for layer in layers if layer.bias is not None])
        return F.conv2d(x, weight, bias).flatten(2).chunk(3, 1)

    def _is_small(self, x: Tensor) -> bool:
        """Tell whether the whole matrix of pairs is faster than torch's attention kernel: on small maps on the CPU."""
        return not is_traced() and x.device.type == "cpu" and x.shape[2] * x.shape[3] <= _SMALL_MAP

    def _warn_if_large(self, x: Tensor) -> None:
        if is_traced() or x.shape[2] * x.shape[3] <= _LARGE_MAP:
            return
        positions = x.shape[2] * x.shape[3]
        size = positions**2 * x.element_size() / 2**20
        self.warn_once(
            "large map",
            f"a {x.shape[2]}x{x.shape[3]} map has {positions} positions, and comparing them pairwise takes a matrix of "
            f"{size:.0f} MiB per image where it has to be held; put the block at P4 or P5, or use mode='dot_product', "
            "SNL or GC",
        )


class SNL(AttentionBlock):
    """Add to every position the same projected context: a non-local block whose weights ignore the query.

    ``y_i = x_i + Wv sum_j softmax_j(Wk x_j) x_j``. ``Wv`` starts at 0, so that either ``init`` is the identity at
    first.

    Args:
        channels: Channels ``C`` of input and output.
        init: ``"paper"`` or ``"identity"``; the same here.

    Example:
        >>> SNL(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", "https://arxiv.org/abs/1904.11492"
    )
    aliases = ("SimplifiedNonLocal", "SNLBlock")
    maps = ("weights",)
    fused = "channel:SNL"

    def __init__(self, channels: int, *, init: Init = "paper") -> None:
        super().__init__(channels, init)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        zero_(self.value)

    def attention(self, x: Tensor) -> Tensor:
        """Return the pooling weights ``(N, 1, H, W)``, summing to 1 over positions."""
        return context(x, self.mask)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its projected context."""
        term: Tensor = self.value(context(x, self.mask)[0])  # (N, C, 1, 1)
        return x + term.to(x.dtype)
