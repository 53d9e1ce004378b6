"""What blocks read from a feature map.

Each :class:`Statistic` is a pair of functions, one that reads it and one that says what its gradient adds to that of
the map, so that a fused kernel can stand behind either without a block changing. Maps are ``(N, C, H, W)`` in any
memory format; statistics have four dimensions as well, of size 1 where they do not vary. What is read uses neither
adaptive pooling nor ``view``, so that it exports with dynamic sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from yolo_attn.blocks._common import is_exported, no_autocast
from yolo_attn.blocks._exported import project, softmax_hw, weigh
from yolo_attn.blocks._layout import CHANNELS, POSITIONS, all_like, memory_order, reduce

Term = Tensor | Callable[[Tensor], Any]
"""Something to add to a map: a small map, or a function that adds it in place."""


@dataclass(frozen=True)
class Statistic:
    """What is read from a map, and what its gradient adds to the map's.

    Attributes:
        read: ``(x, *arguments) -> statistics``.
        spread: ``(x, arguments, statistics, gradients, free) -> terms, gradients of the arguments``; the terms sum up
            to the gradient that reaches ``x`` through the statistics. ``free`` holds tensors of the shape of ``x`` that
            may be overwritten: those that the terms need are taken out, others may be put in.
    """

    read: Callable[..., tuple[Tensor, ...]]
    spread: Callable[..., tuple[list[Term], tuple[Tensor | None, ...]]]

    def __call__(self, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """Return the statistics of ``x``, as a tuple."""
        return self.read(x, *arguments)


Tensors = tuple[Tensor, ...]
Free = list[Tensor]
Spread = tuple[list[Term], tuple[Tensor | None, ...]]


def _positions(x: Tensor) -> int:
    return x.shape[-2] * x.shape[-1]


# ------------------------------------------------------------------------------------------------------ over positions


def _read_mean(x: Tensor) -> Tensors:
    return (reduce(torch.mean, x, POSITIONS),)


def _spread_mean(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    return [gradients[0] / _positions(x)], ()


mean_hw = Statistic(_read_mean, _spread_mean)
"""The mean over positions, ``(N, C, 1, 1)``."""


def _read_mean_max(x: Tensor) -> Tensors:
    return reduce(torch.mean, x, POSITIONS), reduce(torch.amax, x, POSITIONS)


def _spread_mean_max(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    of_mean, of_max = gradients
    where = _argmax_hw(x).flatten(1).unsqueeze(2)  # (N, C, 1)
    return [
        of_mean / _positions(x),
        lambda total: total.flatten(2).scatter_add_(2, where, of_max.flatten(2)),
    ], ()


def _argmax_hw(x: Tensor) -> Tensor:
    """Return the position of each channel's maximum, counted row by row, ``(N, C, 1, 1)``.

    A maximum of maxima: torch finds the place of a maximum much more slowly than its value.
    """
    row = reduce(torch.amax, x, (-1,)).argmax(2, keepdim=True)  # (N, C, 1, 1)
    column = x.gather(2, row.expand(-1, -1, -1, x.shape[3])).argmax(3, keepdim=True)
    return row * x.shape[3] + column


mean_max_hw = Statistic(_read_mean_max, _spread_mean_max)
"""Mean and maximum over positions, ``(N, C, 1, 1)`` each."""


def _read_strips(x: Tensor) -> Tensors:
    return reduce(torch.mean, x, (-1,)), reduce(torch.mean, x, (-2,))


def _spread_strips(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    of_rows, of_columns = gradients
    return [of_rows / x.shape[3], of_columns / x.shape[2]], ()


strips = Statistic(_read_strips, _spread_strips)
"""The mean of every row, ``(N, C, H, 1)``, and of every column, ``(N, C, 1, W)``."""


# ------------------------------------------------------------------------------------------------------- over channels


def _project(x: Tensor, vectors: Tensor) -> Tensor:
    """Return ``sum_c vectors * x`` as ``(N, 1, H, W)``, for one vector of C values, or one for each image.

    ``matmul`` would copy the whole map where the vector is a parameter.
    """
    rows = vectors.to(x.dtype).reshape(-1, 1, x.shape[1]).expand(x.shape[0], -1, -1)
    return torch.bmm(rows, x.flatten(2)).unflatten(2, x.shape[2:])


def _weigh(x: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum_hw weights * x`` as ``(N, C, 1, 1)``, for weights ``(N, 1, H, W)``."""
    sums = torch.bmm(weights.to(x.dtype).flatten(2), x.flatten(2).transpose(1, 2))  # (N, 1, C), the faster way round
    return sums.transpose(1, 2).unsqueeze(3)


def _of_projection(x: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Term, Tensor]:
    channels = weight.to(x.dtype).reshape(1, -1, 1, 1)
    return lambda total: total.addcmul_(channels, gradient), _weigh(x, gradient).sum(0).reshape(weight.shape)


def _read_projection(x: Tensor, weight: Tensor) -> Tensors:
    return (project(x, weight) if is_exported() else _project(x, weight),)


def _spread_projection(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    term, of_weight = _of_projection(x, arguments[0], gradients[0])
    return [term], (of_weight,)


project_c = Statistic(_read_projection, _spread_projection)
"""The product with a weight of C values over channels, ``(N, 1, H, W)``."""


def _read_mean_and_projection(x: Tensor, weight: Tensor) -> Tensors:
    return _read_mean(x) + _read_projection(x, weight)


def _spread_mean_and_projection(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    term, of_weight = _of_projection(x, arguments[0], gradients[1])
    return [gradients[0] / _positions(x), term], (of_weight,)


mean_and_projection = Statistic(_read_mean_and_projection, _spread_mean_and_projection)
"""``mean_hw`` and ``project_c`` of the same map, ``(N, C, 1, 1)`` and ``(N, 1, H, W)``."""


def _read_context(x: Tensor, weight: Tensor, bias: Tensor) -> Tensors:
    if is_exported():
        weights = softmax_hw(project(x, weight) + bias.to(x.dtype).reshape(1, 1, 1, 1))
        return weigh(x, weights), weights
    logits = _project(x, weight) + bias.to(x.dtype)
    weights = torch.softmax(logits.flatten(2), dim=2).unflatten(2, x.shape[2:])
    return _weigh(x, weights), weights


def _spread_context(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    (weight, _), (_, weights), (of_context, of_weights) = arguments, read, gradients
    of_weights = of_weights + _project(x, of_context)
    of_logits = weights * (of_weights - (weights * of_weights).sum(POSITIONS, keepdim=True))
    through_logits, of_weight = _of_projection(x, weight, of_logits)
    return [lambda total: total.addcmul_(of_context, weights), through_logits], (of_weight, of_logits.sum().reshape(1))


context = Statistic(_read_context, _spread_context)
"""The mean weighted by ``softmax_hw(weight . x + bias)``, ``(N, C, 1, 1)``, and these weights, ``(N, 1, H, W)``."""


def _read_max_mean(x: Tensor, gate: Tensor) -> Tensors:
    (gate,) = all_like([gate], x)
    gated = x * gate
    return (torch.cat((reduce(torch.amax, gated, CHANNELS), reduce(torch.mean, gated, CHANNELS)), 1),)


def _spread_max_mean(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    (gate,) = all_like(arguments, x)
    largest, (of_max, of_mean) = read[0][:, :1], gradients[0].split(1, 1)
    is_largest = torch.mul(x, gate, out=free.pop() if free else None).eq_(largest)
    of_gated = is_largest.mul_(of_max / reduce(torch.sum, is_largest, CHANNELS)).add_(of_mean / x.shape[1])
    product = of_gated * x
    free.append(product)
    return [lambda total: total.addcmul_(of_gated, gate)], (reduce(torch.sum, product, POSITIONS),)


max_mean_c = Statistic(_read_max_mean, _spread_max_mean)
"""Maximum and mean over channels of ``x * gate``, in this order, ``(N, 2, H, W)``; the gate is ``(N, C, 1, 1)``."""


# -------------------------------------------------------------------------------------------------- of grouped channels


def _wide(x: Tensor) -> Tensor:
    """Return a map in at least float32."""
    return x if x.dtype == torch.float64 else x.float()


def _read_similarity(x: Tensor) -> Tensors:
    with no_autocast(x.device.type):
        wide = _wide(x)
        mean = reduce(torch.mean, wide, POSITIONS)
        if memory_order(x) is None:
            products = mean.flatten(3).transpose(2, 3) @ wide.flatten(3)  # (N, G, 1, C/G) @ (N, G, C/G, HW)
        else:
            products = torch.bmm(_among_all_channels(mean), wide.flatten(1, 2).flatten(2)).unsqueeze(2)
        return products.unflatten(3, x.shape[3:]), mean


def _among_all_channels(mean: Tensor) -> Tensor:
    """Return each group's values at its own channels and 0 at all others, ``(N, G, C/G, 1, 1)`` -> ``(N, G, C)``.

    In a channels-last map the channels of a group do not form a matrix of their own; a product with all channels is
    much faster than copying it.
    """
    return torch.diag_embed(mean.flatten(2).transpose(1, 2), dim1=1, dim2=2).flatten(2)


def _spread_similarity(x: Tensor, arguments: tuple, read: Tensors, gradients: Tensors, free: Free) -> Spread:
    (_, mean), (of_similarity, of_mean) = read, gradients
    wide, weights = _wide(x), of_similarity.flatten(3)  # (N, G, 1, HW)
    if memory_order(x) is None:
        sums = (weights @ wide.flatten(3).transpose(2, 3)).transpose(2, 3)  # (N, G, C/G, 1)
    else:
        by_channel = torch.bmm(weights.flatten(1, 2), wide.flatten(1, 2).flatten(2).transpose(1, 2))  # (N, G, C)
        sums = by_channel.unflatten(2, x.shape[1:3]).diagonal(dim1=1, dim2=2).transpose(1, 2).unsqueeze(3)
    of_mean = of_mean + sums.unsqueeze(4)
    of_similarity, mean = of_similarity.to(x.dtype), mean.to(x.dtype)
    return [(of_mean / _positions(x)).to(x.dtype), lambda total: total.addcmul_(mean, of_similarity)], ()


similarity = Statistic(_read_similarity, _spread_similarity)
"""``sum_c x_c * mean_hw(x_c)`` over the channels of each group, and these means.

Of a map with grouped channels, ``(N, G, C/G, H, W)``, it is ``(N, G, 1, H, W)`` and ``(N, G, C/G, 1, 1)``, in at least
float32: the sum overflows float16 for activations in the hundreds.
"""
