"""Check constructor arguments: each error states the given value, the allowed values and the nearest match."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal


def check(name: str, value: object, hint: Any, positive: bool = False) -> None:
    """Refuse a value that does not fit its annotation.

    Args:
        name: Name of the argument.
        value: What was given.
        hint: ``int`` (at least 1), ``float`` (finite), ``bool``, ``Literal[...]`` of words or of integers, or one of
            these ``| None``; anything else is not checked.
        positive: Whether a ``float`` has to be greater than 0.

    Raises:
        TypeError: The value has the wrong type.
        ValueError: The value is out of its range.
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return
        (hint,) = (h for h in typing.get_args(hint) if h is not type(None))
    what = f"{name}={value!r} is a {type(value).__name__}; give"
    if hint is bool and not isinstance(value, bool):
        raise TypeError(f"{what} True or False")
    if hint is int:
        check_int(name, value)
    if hint is float:
        range_ = "a number > 0, e.g. 2" if positive else "a finite number, e.g. 1"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{what} {range_}")
        if not math.isfinite(value) or (positive and value <= 0):
            raise ValueError(f"{name}={value} is out of range; give {range_}")
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        (_check_word if isinstance(allowed[0], str) else _check_choice)(name, value, what, allowed)


def _check_word(name: str, value: object, what: str, allowed: Sequence[str]) -> None:
    listed = ", ".join(map(repr, allowed))
    if not isinstance(value, str):
        raise TypeError(f"{what} one of {listed}")
    if value not in allowed:
        by_lower = {word.lower(): word for word in allowed}
        near = difflib.get_close_matches(value.lower(), by_lower, n=1)
        hint = f" (did you mean {by_lower[near[0]]!r}?)" if near else ""
        raise ValueError(f"{name}={value!r} is unknown{hint}; give one of {listed}")


def _check_choice(name: str, value: object, what: str, allowed: Sequence[int]) -> None:
    listed = ", ".join(map(str, allowed))
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} one of {listed}")
    if value not in allowed:
        nearest = min(allowed, key=lambda other: abs(other - value))
        raise ValueError(f"{name}={value} is not available (the nearest is {nearest}); give one of {listed}")


def check_int(name: str, value: object) -> None:
    """Refuse all but an integer of at least 1; ``True`` and ``16.0`` are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; give an integer >= 1, e.g. {name}=16")
    if value < 1:
        raise ValueError(f"{name}={value} is too small; give an integer >= 1")


def check_odd(name: str, size: int) -> int:
    """Return a kernel size if it is odd, so that it keeps the size of the map."""
    if size % 2 == 0:
        raise ValueError(
            f"{name}={size} is even and would shift the map; give an odd one, e.g. {size - 1} or {size + 1}"
        )
    return size


def check_divides(name: str, groups: int, channels: int) -> int:
    """Return ``groups`` if it divides ``channels``; otherwise name the nearest divisors."""
    if channels % groups:
        below = largest_divisor(channels, groups)
        above = next((d for d in range(groups, channels) if channels % d == 0), channels)
        near = f"{below}" if below == above or groups > channels else f"{below} or {above}"
        raise ValueError(f"{name}={groups} does not divide channels={channels}; the nearest that does: {near}")
    return groups


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of ``number`` that is at most ``limit``."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
