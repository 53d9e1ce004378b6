"""Non-local (NL) block and its simplified form (SNL).

Papers:
    NL: Wang et al., "Non-local Neural Networks", CVPR 2018, https://arxiv.org/abs/1711.07971
    SNL: Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV Workshops 2019,
    https://arxiv.org/abs/1904.11492
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks._common import (
    INITS,
    Init,
    as_map,
    check_choice,
    check_int,
    is_exported,
    is_traced,
    warn_once,
    zero_,
)
from yolo_attn.blocks._exported import attend
from yolo_attn.blocks._layout import memory_order
from yolo_attn.blocks._recalibrate import is_plain, recalibrate
from yolo_attn.blocks._statistics import context
from yolo_attn.blocks._writes import add

_SMALL_MAP = 1024  # positions; below, keeping the projections costs little memory, and projecting again more time
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
        if self.mode == "embedded_gaussian":
            self._warn_if_large(x)
        if is_exported():
            return x + self.out(self._exported(self.theta(x), self.phi(x), self.g(x)))
        pixels = x.flatten(2).transpose(1, 2)  # (N, HW, C)
        convs = (self.theta, self.phi, self.g)
        theta, phi, g = projected = [_project(pixels, conv) for conv in convs]  # (N, HW, inner)
        with _projected_again(pixels, convs, projected):
            if self.mode == "embedded_gaussian":
                y = F.scaled_dot_product_attention(theta[:, None], phi[:, None], g[:, None], scale=1.0).squeeze(1)
            else:
                y = theta @ (phi.transpose(1, 2) @ g / theta.shape[1])  # (N, HW, inner) @ (N, inner, inner)
        if memory_order(x) is None:
            z = _project_maps(y.transpose(1, 2), self.out)  # (N, C, HW)
        else:
            z = _project(y, self.out).transpose(1, 2)
        return x + z.unflatten(2, x.shape[2:]).to(x.dtype)

    def _exported(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """Return the weighted sums of maps ``(N, inner, H, W)``, as such a map."""
        if self.mode == "embedded_gaussian":
            return attend(theta, phi, g)
        positions = torch.ones_like(theta[:, :1]).sum((2, 3), keepdim=True)  # (N, 1, 1, 1)
        between = g.flatten(2) @ phi.flatten(2).transpose(1, 2)  # (N, inner, inner)
        return (between @ theta.flatten(2)).reshape(theta.shape) / positions

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


def _project(pixels: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 1x1 convolution, ``(N, HW, in)`` -> ``(N, HW, out)``."""
    weight = conv.weight.to(pixels.dtype).flatten(1).t()
    products = torch.bmm(pixels, weight.expand(pixels.shape[0], -1, -1))
    return products.add_(conv.bias.to(products.dtype))


def _project_maps(maps: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 1x1 convolution, ``(N, in, HW)`` -> ``(N, out, HW)``."""
    weight = conv.weight.to(maps.dtype).flatten(1)
    products = torch.bmm(weight.expand(maps.shape[0], -1, -1), maps)
    return products.add_(conv.bias.to(products.dtype)[:, None])


@contextlib.contextmanager
def _projected_again(pixels: Tensor, convs: Sequence[nn.Conv2d], projected: Sequence[Tensor]) -> Iterator[None]:
    """Keep no projection of a large map for the backward pass, which projects once more instead."""
    if is_plain() or pixels.shape[1] <= _SMALL_MAP:
        yield
        return
    conv_of = {tensor.data_ptr(): conv for tensor, conv in zip(projected, convs, strict=True)}

    def pack(saved: Tensor) -> Any:
        conv = conv_of.get(saved.data_ptr())
        return saved if conv is None else (conv, saved.dtype, saved.shape, saved.stride())

    def unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        conv, dtype, shape, stride = packed
        with torch.no_grad():
            return _project(pixels.to(dtype), conv).as_strided(shape, stride)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


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
        if is_exported():
            return (self.value(context),)
        return (as_map(F.linear(context.flatten(1), self.value.weight.flatten(1), self.value.bias)),)

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, init={self.init}"
