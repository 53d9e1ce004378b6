"""Base class of the attention blocks: facts as class attributes, arguments checked by annotation, ``x`` times gates."""

from __future__ import annotations

import functools
import inspect
import re
import typing
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from yolo_attn.blocks._checks import check, largest_divisor
from yolo_attn.blocks.fused import compute, is_on
from yolo_attn.blocks.ops import multiply

Init = Literal["paper", "identity"]

MAPS = {
    "channel": "(N, C, 1, 1)",
    "rows": "(N, C, H, 1)",
    "columns": "(N, C, 1, W)",
    "spatial": "(N, 1, H, W)",
    "groups": "(N, G, H, W)",
    "full": "(N, C, H, W)",
    "cells": "(N, C, L, L)",
    "channel half": "(N, C/2, 1, 1)",
    "full half": "(N, C/2, H, W)",
    "kernels": "(N, 2, H, W)",
    "factors": "(N, C, H, W)",
    "branches": "(N, K, C)",
    "weights": "(N, 1, H, W)",
    "pairs": "(N, HW, HW)",
}
"""The kinds of attention maps and their shapes. All are gates, which multiply, but the last three: ``branches`` sum to
1 over the ``K`` branches, ``weights`` over positions, and row ``i`` of ``pairs`` holds the weights that position ``i``
gives to all positions. ``factors`` are gates of either sign and without bound. ``cells`` are
the ``L x L`` parts of equal size that a map is divided into."""

_UNBOUNDED = ("factors", "branches", "weights", "pairs")
_WARNED: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Paper:
    """Title and link of the paper that defines a block, and the year in which it appeared.

    The year of a paper on arXiv is that of its number.
    """

    title: str
    link: str
    year: int | None = None

    def __post_init__(self) -> None:
        if self.year is None and (found := re.search(r"arxiv\.org/abs/(\d\d)\d\d\.", self.link)):
            object.__setattr__(self, "year", 2000 + int(found[1]))


class AttentionBlock(nn.Module):
    """Recalibrate a feature map by attention maps that are computed from it.

    Every block takes ``channels`` first, then hyper-parameters of its own, then ``init``; it keeps shape, dtype, device
    and memory format. Arguments are checked against their annotations: integers are at least 1, floats are finite,
    strings are one of the listed literals.

    Args:
        channels: Channels ``C`` of input and output.
        init: ``"paper"``, or ``"identity"``: a fresh block returns its input exactly. A sigmoid gate is then
            ``2 * sigmoid``, in (0, 2), and its last layer starts at 0, so that it starts at 1.

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Attributes:
        yaml_name: Name in a model YAML; the name of the class by default.
        paper: Title and link.
        aliases: Other names by which a model YAML may use the block.
        maps: Kinds of the maps that ``attention(x)`` returns, as keys of ``MAPS``.
        variants: Hyper-parameters that the tests run in addition to the defaults: all that change the computation.
        places: Place inside a host block that public model YAMLs mean by ``HOST_BLOCK``, by the name of the host, where
            it is not the usual one.
        public: Order of the arguments after the number of channels in the class that public code has under a row's
            name, where it is not that of the constructor here; ``"name=value"`` for one that has only that value.
        positive: Float arguments that must be greater than 0.
        blends: Whether the block cannot start as the identity. ``init="identity"`` then adds a scalar ``gamma``,
            initially 0, and the block returns ``x + gamma * (block(x) - x)``; its gates stay ``sigmoid``.
        fused: Form in ``blocks/fused`` that computes the same by kernels on a GPU, ``"module:Class"``; "" for none.
    """

    yaml_name: ClassVar[str]
    paper: ClassVar[Paper]
    aliases: ClassVar[tuple[str, ...]] = ()
    maps: ClassVar[tuple[str, ...]]
    variants: ClassVar[tuple[dict[str, Any], ...]] = ()
    places: ClassVar[dict[str, str]] = {}
    public: ClassVar[dict[str, tuple[str, ...]]] = {}
    positive: ClassVar[tuple[str, ...]] = ()
    blends: bool = False
    fused: ClassVar[str] = ""

    gamma: nn.Parameter
    fallbacks: tuple[str, ...] | list[str] = ()
    """Hyper-parameters that were adapted to the number of channels, as ``repr`` shows them."""

    def __init__(self, channels: int, init: Init, blends: bool | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.init = init
        if blends is not None:  # where it depends on the hyper-parameters
            self.blends = blends
        self.scale = 2.0 if init == "identity" and not self.blends else 1.0  # of sigmoid gates: 2 * sigmoid(0) = 1

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.yaml_name = vars(cls).get("yaml_name", cls.__name__)
        if "__init__" in vars(cls):
            cls.__init__ = _checked(cls.__init__)  # type: ignore[method-assign]
        if vars(cls).get("blends"):
            cls.forward = _blended(cls.forward)  # type: ignore[method-assign, assignment]
        if vars(cls).get("fused"):
            cls.forward = _fused(cls, cls.forward)  # type: ignore[method-assign, assignment]

    def attention(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the attention map or maps, of the kinds in ``maps``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its gates."""
        gates = self.attention(x)
        return multiply(x, *gates) if isinstance(gates, tuple) else multiply(x, gates)

    @property
    def tops(self) -> tuple[float | None, ...]:
        """Upper bounds of the gates, whose lower bound is 0; ``None`` for weights and for factors without bound."""
        return tuple(None if kind in _UNBOUNDED else self.scale for kind in self.maps)

    def fit(self, what: str, wanted: int, number: int | None = None) -> int:
        """Return the largest divisor of a number up to ``wanted``; if it differs, warn and show it in ``repr``.

        Args:
            what: Name of what is adapted, for the warning and ``repr``.
            wanted: Its usual value.
            number: What it has to divide; ``channels`` by default.
        """
        fitting = largest_divisor(number or self.channels, wanted)
        if fitting != wanted:
            self.fallbacks = [*self.fallbacks, f"{what} {wanted}->{fitting}"]
            self.warn_once(
                what,
                f"{what} {wanted} does not fit {self.channels} channels; {fitting} is used; other "
                "widths also get the largest that fits",
            )
        return fitting

    def warn_once(self, reason: str, message: str) -> None:
        """Warn once per process for each kind of block and reason."""
        if (type(self).__name__, reason) not in _WARNED:
            _WARNED.add((type(self).__name__, reason))
            warnings.warn(f"{type(self).__name__}: {message} (shown once)", UserWarning, stacklevel=4)

    def extra_repr(self) -> str:
        """Return the arguments kept as attributes, and those adapted to the number of channels."""
        names = list(inspect.signature(type(self)).parameters)[1:]
        shown = [f"{name}={vars(self)[name]}" for name in names if name in vars(self)]
        return ", ".join([str(self.channels), *shown, *self.fallbacks])


def zero_(*modules: nn.Module) -> None:
    """Set weight and bias of each module to 0."""
    for module in modules:
        for parameter in module.parameters(recurse=False):
            nn.init.zeros_(parameter)


def one_(conv: nn.Conv2d) -> None:
    """Set the weight of a convolution to 0 and its bias to 1, so that it returns 1."""
    zero_(conv)
    nn.init.ones_(conv.bias)  # type: ignore[arg-type]


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked(self: AttentionBlock, *args: Any, **kwargs: Any) -> None:
        hints = typing.get_type_hints(init)
        for name, value in [*signature.bind(self, *args, **kwargs).arguments.items()][1:]:
            check(name, value, hints.get(name, Any), positive=name in self.positive)
        init(self, *args, **kwargs)
        if self.blends and type(self).__init__ is checked and self.init == "identity":
            self.gamma = nn.Parameter(torch.zeros(()))

    return checked


def _blended(forward: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    @functools.wraps(forward)
    def blended(self: AttentionBlock, x: Tensor) -> Tensor:
        y = forward(self, x)
        return x + self.gamma * (y - x) if self.blends and self.init == "identity" else y

    return blended


def _fused(owner: type, forward: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    @functools.wraps(forward)
    def fused(self: AttentionBlock, x: Tensor) -> Tensor:
        y = compute(self, x) if is_on() and type(self) is owner else None
        return forward(self, x) if y is None else y

    return fused
