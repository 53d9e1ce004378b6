"""Parametrise over many cases of which a sample runs by default and the rest in another tier."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def sampled(
    values: Iterable[Any],
    default: Callable[[Any], bool] | Iterable[Any],
    tier: str | Callable[[Any], str] = "campaign",
) -> list[Any]:
    """Mark every value outside the sample with a tier, so that only the sample runs by default.

    Args:
        values: Parameters, in order; a tuple is one set of arguments.
        default: The sample, or a function that tells whether a value belongs to it.
        tier: Mark of all other values, ``slow`` or ``campaign``, or a function that returns that of a value.

    Raises:
        ValueError: The sample is empty or holds a value that is not among the values.
    """
    values = list(values)
    chosen = [v for v in values if default(v)] if callable(default) else list(default)
    if not chosen or any(v not in values for v in chosen):
        raise ValueError(f"no sample of {values}: {chosen}")
    found = []
    for v in values:
        mark = getattr(pytest.mark, tier(v) if callable(tier) else tier)
        found.append(v if v in chosen else pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=mark))
    return found
