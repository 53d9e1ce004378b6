"""The operations of blocks in the form in which every runtime computes them right.

While a model is traced or exported, blocks compute the same by other operations than in PyTorch, where speed decides:

* every tensor has four dimensions, batch first, and keeps them: ncnn has no batch, and takes the dimensions of a vector
  or of grouped channels for others, without a word;
* products with weights are convolutions, which every runtime fuses and quantises, and no batched products of matrices;
* no size is written down, only reduced over, so that a file that takes other sizes has nothing to compute them from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def pointwise(x: Tensor, layer: nn.Linear | nn.Conv2d) -> Tensor:
    """Apply a linear layer or 1x1 convolution at every position, ``(N, in, H, W)`` -> ``(N, out, H, W)``."""
    weight = layer.weight if layer.weight.ndim == 4 else layer.weight[:, :, None, None]
    return F.conv2d(x, weight, layer.bias)


def project(x: Tensor, vector: Tensor) -> Tensor:
    """Return ``sum_c vector * x`` as ``(N, 1, H, W)``, for one vector of C values."""
    return F.conv2d(x, vector.to(x.dtype).reshape(1, -1, 1, 1))


def softmax_hw(logits: Tensor) -> Tensor:
    """Return the softmax over positions, ``(N, C, H, W)``."""
    weights = torch.exp(logits - logits.amax((2, 3), keepdim=True))
    return weights / weights.sum((2, 3), keepdim=True)


def weigh(x: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_hw weights * x`` as ``(N, C, 1, 1)``."""
    return (x * weights).sum((2, 3), keepdim=True)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Normalise over channels, ``(N, C, 1, 1)``."""
    centered = x - x.mean(1, keepdim=True)
    scale = torch.rsqrt(centered.square().mean(1, keepdim=True) + norm.eps)
    return centered * scale * norm.weight[:, None, None] + norm.bias[:, None, None]


def sum_groups(x: Tensor, groups: int, width: int) -> Tensor:
    """Sum the ``width`` channels of each group, ``(N, C, H, W)`` -> ``(N, G, H, W)``."""
    return F.conv2d(x, torch.ones(groups, width, 1, 1, dtype=x.dtype, device=x.device), groups=groups)


def spread_groups(x: Tensor, groups: int, width: int) -> Tensor:
    """Give each of the ``width`` channels of a group the group's value, ``(N, G, H, W)`` -> ``(N, C, H, W)``."""
    return F.conv2d(x, torch.ones(groups * width, 1, 1, 1, dtype=x.dtype, device=x.device), groups=groups)


def attend(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """Return ``sum_j softmax_j(theta_i . phi_j) g_j`` for maps ``(N, inner, H, W)``, as such a map."""
    queries, keys, values = (m.flatten(2).transpose(1, 2)[:, None] for m in (theta, phi, g))  # (N, 1, HW, inner)
    sums = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
    return sums[:, 0].transpose(1, 2).reshape(theta.shape)
