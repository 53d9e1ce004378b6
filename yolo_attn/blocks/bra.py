"""Bi-level Routing Attention (BRA) of BiFormer."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.blocks._checks import check_odd
from yolo_attn.blocks._regions import by_region, gather, largest, region_size, to_map
from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import depthwise, is_exported, no_autocast


class BRA(AttentionBlock):
    """Add to every position what it attends to in the regions that suit its own region best.

    The map has ``S x S`` regions. ``[Q, K, V] = Wqkv x``; each region routes to the ``k`` regions of the largest
    ``mean(Q) . mean(K)``, Eqs. 3-5, and each of its positions attends to all positions of these, with ``heads`` groups
    of channels: ``y = x + Wo (softmax(Q Kg^T / sqrt(C)) Vg + DW(V))``, Eqs. 6-8, with the residual of BiFormer's block.
    As in the authors' release the root is that of all channels, and no gradient goes through the choice of regions. A
    side that ``S`` does not divide is padded; unlike in that release, what is padded is neither attended to nor part
    of a mean. Unlike BiFormer's block it has no LayerNorm before: the convolutions of a YOLO end in a norm. Where the
    heads do not divide the channels the largest number that does is used; one warning and ``repr`` say so.

    ``init="identity"``: ``Wo`` starts at 0.

    Args:
        channels: Channels ``C`` of input and output.
        heads: Number of groups of channels that attend on their own.
        regions: Regions ``S`` along each side of the map.
        topk: Regions ``k`` that each region routes to.
        kernel_size: Side of the depthwise convolution of ``V``, odd.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> BRA(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper("BiFormer: Vision Transformer with Bi-Level Routing Attention", "https://arxiv.org/abs/2303.08810")
    aliases = ("BiLevelRoutingAttention", "BiLevelRoutingAttention_nchw", "BiFormerAttention")
    public: ClassVar = {"BRA": ("regions", "heads")}
    maps = ("pairs",)
    variants = ({"heads": 2, "regions": 2, "topk": 2},)

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        regions: int = 7,
        topk: int = 4,
        kernel_size: int = 5,
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        if topk > regions**2:
            raise ValueError(
                f"topk={topk} is too large for regions={regions} along each side; give at most {regions**2}"
            )
        self.heads, self.regions, self.topk = self.fit("heads", heads), regions, topk
        self.kernel_size = check_odd("kernel_size", kernel_size)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.local = depthwise(channels, kernel_size, kernel_size)
        self.out = nn.Conv2d(channels, channels, 1)
        if init == "identity":
            zero_(self.out)

    def attention(self, x: Tensor) -> Tensor:
        """Return the mean weights of the heads as ``(N, HW, HW)``: row ``i`` weighs all ``j``. Forms whole matrices."""
        qkv = self.qkv(x)
        (height, width), (tall, wide) = x.shape[2:], region_size(x, self.regions)
        rows, columns = torch.arange(height, device=x.device) // tall, torch.arange(width, device=x.device) // wide
        region = (rows[:, None] * self.regions + columns).flatten()  # of each position
        routes = self._routes(self._by_region(qkv), self._real(x)).squeeze(1)  # (N, R, topk)
        chosen = (routes[..., None] == torch.arange(self.regions**2, device=x.device)).any(2)  # (N, R, R)
        q, k, _ = qkv.flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)  # (N, heads, C/heads, HW)
        pairs = q.transpose(2, 3) @ k * self.channels**-0.5
        hidden = ~chosen[:, region][:, :, region].unsqueeze(1)  # (N, 1, HW, HW)
        weights: Tensor = pairs.masked_fill(hidden, -torch.inf).softmax(3).mean(1)
        return weights

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the projected sum of attention and local context."""
        qkv, real = self.qkv(x), self._real(x)
        z = self._by_region(qkv)  # (N, 3 heads, R w, C/heads): w positions in each of R regions
        y = self._attend(z, self._routes(z, real), real)
        y = to_map(y, self.regions, x) + self.local(_alone(qkv[:, 2 * self.channels :]))
        projected: Tensor = self.out(y)
        return x + projected.to(x.dtype)

    def _by_region(self, qkv: Tensor) -> Tensor:
        return by_region(qkv, self.regions, self.channels // self.heads)

    def _real(self, x: Tensor) -> Tensor | None:
        """Return 1 for positions of the map and 0 for padding, ``(N, 1, R w, 1)``; None where nothing is padded."""
        if not is_exported() and not (x.shape[2] % self.regions or x.shape[3] % self.regions):
            return None
        return by_region(torch.ones_like(x[:, :1]), self.regions, 1)

    def _routes(self, z: Tensor, real: Tensor | None) -> Tensor:
        """Return the regions that each region attends to, as :func:`largest` does."""
        with no_autocast(z.device.type):
            q, k = self._means(z[:, : 2 * self.heads].detach()).chunk(2, 1)  # (N, heads, R, C/heads)
            affinity = (q @ k.transpose(2, 3)).sum(1, keepdim=True)  # (N, 1, R, R)
            if real is not None:
                share = self._means(real).transpose(2, 3)  # (N, 1, 1, R), of the positions of a region
                affinity = affinity / share.clamp(min=1e-6)
                low = affinity.amin((2, 3), keepdim=True) - 1
                affinity = low + (affinity - low) * share.mul(1e6).clamp(max=1)  # below all others where it is empty
            return largest(affinity, self.topk)

    def _means(self, z: Tensor) -> Tensor:
        """Return the mean of each region, padding included, ``(N, G, R, d)``, not in half precision."""
        n, groups, _, d = z.shape
        z = z.reshape(n, groups * self.regions**2, z.shape[2] // self.regions**2, d)
        means = z.mean(2, keepdim=True, dtype=torch.float32) if z.dtype.itemsize == 2 else z.mean(2, keepdim=True)
        return means.reshape(n, groups, self.regions**2, d)

    def _attend(self, z: Tensor, routes: Tensor, real: Tensor | None) -> Tensor:
        """Return what each position attends to in the regions of its own region, ``(N, heads, R w, C/heads)``."""
        heads, regions, scale = self.heads, self.regions**2, self.channels**-0.5
        n, _, positions, d = z.shape
        query = _alone(z[:, :heads]).reshape(n, heads * regions, positions // regions, d)
        key, value = (gather(part, routes, self.regions) for part in (z[:, heads : 2 * heads], z[:, 2 * heads :]))
        mask = None if real is None else torch.cat([gather(real, routes, self.regions)] * heads, 1).transpose(2, 3)
        if mask is not None and is_exported():
            logits = query @ key.transpose(2, 3) * scale + (mask - 1) * 3e4  # within the range of float16
            y = torch.softmax(logits, 3) @ value
        else:
            y = F.scaled_dot_product_attention(query, key, value, None if mask is None else mask > 0, scale=scale)
        return y.reshape(n, heads, positions, d)


def _alone(part: Tensor) -> Tensor:
    """Return a copy where gradients are recorded, so that the backward pass keeps the part and not the whole."""
    return part.clone() if torch.is_grad_enabled() and not is_exported() else part
