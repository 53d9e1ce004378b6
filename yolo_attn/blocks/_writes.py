"""How blocks put small maps onto a feature map.

Each :class:`Write` is the operation and its two gradients, so that a fused kernel can stand behind any of them without
a block changing. Maps are ``(N, C, H, W)``, or ``(N, G, C/G, H, W)`` with grouped channels, in any memory format; small
maps have as many dimensions, of size 1 where they do not vary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from yolo_attn.blocks._common import is_exported, is_traced
from yolo_attn.blocks._layout import sum_like, weighted_sum_like
from yolo_attn.blocks._statistics import Tensors, Term

Pull = tuple[Tensors, list[Tensor]]


@dataclass(frozen=True)
class Write:
    """An operation ``y = write(x, *smalls)`` that is linear in ``x``, and its gradients.

    Attributes:
        write: ``(x, *smalls) -> y``.
        slope: ``(x, gy, *smalls) -> factors, terms``: ``gy`` times the factors plus the terms is the gradient of ``x``.
        pull: ``(x, gy, *smalls) -> gradients, free``: those of the small maps, and tensors of the shape of the map that
            were needed on the way.
    """

    write: Callable[..., Tensor]
    slope: Callable[..., tuple[Sequence[Tensor], list[Term]]]
    pull: Callable[..., Pull]

    def __call__(self, x: Tensor, *smalls: Tensor) -> Tensor:
        """Return ``y`` in the memory format of ``x``."""
        return self.write(x, *smalls)


def gradient_of_map(gy: Tensor, factors: Sequence[Tensor], terms: Sequence[Term], free: Sequence[Tensor]) -> Tensor:
    """Return ``gy`` times the factors plus the terms, in as few passes over the map as there are operations.

    Args:
        gy: A gradient, of the shape of the map.
        factors: Small maps.
        terms: What is added.
        free: Tensors of the shape of the map that may be overwritten; new memory costs more than a pass over the map.
    """
    out = free[-1] if free else None
    small = [term for term in terms if isinstance(term, Tensor)]
    total = gy
    for i, factor in enumerate(factors):
        if small and i == len(factors) - 1:
            total = out = torch.addcmul(small.pop(0), total, factor, out=out)
        else:
            total = out = torch.mul(total, factor, out=out)
    for term in small:
        total = out = torch.add(total, term, out=out)
    for add_to in (term for term in terms if not isinstance(term, Tensor)):
        if total is not out:
            total = out = gy.clone() if out is None else out.copy_(gy)
        add_to(total)
    return total


def _in_place() -> bool:
    """Whether a result of this module may be overwritten: nothing records how it came about."""
    return not (torch.is_grad_enabled() or is_traced())


# ------------------------------------------------------------------------------------------------------------ by gates


def _multiply(x: Tensor, *gates: Tensor) -> Tensor:
    y = x * gates[0]
    if len(gates) == 1:
        return y
    return y.mul_(gates[1]) if _in_place() else y * gates[1]


def _slope_multiply(x: Tensor, gy: Tensor, *gates: Tensor) -> tuple[Sequence[Tensor], list[Term]]:
    return gates, []


def _pull_multiply(x: Tensor, gy: Tensor, *gates: Tensor) -> Pull:
    product = gy * x
    if len(gates) == 1:
        return (sum_like(product, gates[0]),), [product]
    one, other = gates
    of_one = weighted_sum_like(product, other, one)
    if of_one is not None:
        return (of_one, weighted_sum_like(product, one, other)), [product]
    weighted = product * other
    of_one = sum_like(weighted, one)
    return (of_one, sum_like(product.mul_(one), other)), [weighted, product]


multiply = Write(_multiply, _slope_multiply, _pull_multiply)
"""``x * gate`` or ``x * gate * gate``."""


def _multiply_by_sum(x: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.add(one, other, out=torch.empty_like(x)).mul_(x) if _in_place() else x * (one + other)


def _slope_sum(x: Tensor, gy: Tensor, one: Tensor, other: Tensor) -> tuple[Sequence[Tensor], list[Term]]:
    return [one], [lambda total: total.addcmul_(gy, other)]


def _pull_sum(x: Tensor, gy: Tensor, one: Tensor, other: Tensor) -> Pull:
    product = gy * x
    return (sum_like(product, one), sum_like(product, other)), [product]


multiply_by_sum = Write(_multiply_by_sum, _slope_sum, _pull_sum)
"""``x * (gate + gate)``."""


def _larger_product(x: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.maximum(x * one, x * other)


def _slope_larger(x: Tensor, gy: Tensor, one: Tensor, other: Tensor) -> tuple[Sequence[Tensor], list[Term]]:
    return [torch.where(x > 0, torch.maximum(one, other), torch.minimum(one, other))], []


def _pull_larger(x: Tensor, gy: Tensor, one: Tensor, other: Tensor) -> Pull:
    product = gy * x
    by_one = torch.where((x > 0) == (one > other), product, 0)
    return (sum_like(by_one, one), sum_like(product.sub_(by_one), other)), [by_one, product]


larger_product = Write(_larger_product, _slope_larger, _pull_larger)
"""``max(x * gate, x * gate)``."""


# ------------------------------------------------------------------------------------------------------------ by terms


def _add(x: Tensor, term: Tensor) -> Tensor:
    return x + term


def _slope_add(x: Tensor, gy: Tensor, term: Tensor) -> tuple[Sequence[Tensor], list[Term]]:
    return [], []


def _pull_add(x: Tensor, gy: Tensor, term: Tensor) -> Pull:
    return (sum_like(gy, term),), []


add = Write(_add, _slope_add, _pull_add)
"""``x + term``."""


def _scale_and_shift(x: Tensor, gate: Tensor, term: Tensor) -> Tensor:
    return x * gate + term if is_exported() else torch.addcmul(term, x, gate)


def _slope_scale(x: Tensor, gy: Tensor, gate: Tensor, term: Tensor) -> tuple[Sequence[Tensor], list[Term]]:
    return [gate], []


def _pull_scale_and_shift(x: Tensor, gy: Tensor, gate: Tensor, term: Tensor) -> Pull:
    product = gy * x
    return (sum_like(product, gate), sum_like(gy, term)), [product]


scale_and_shift = Write(_scale_and_shift, _slope_scale, _pull_scale_and_shift)
"""``x * gate + term``."""
