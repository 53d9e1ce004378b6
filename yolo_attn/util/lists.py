"""Treat a single value like a list of one, as model YAMLs do."""

from __future__ import annotations

from typing import Any


def as_list(given: Any) -> list[Any]:
    """Return the values of a list or tuple as a list, and anything else as a list of one.

    Examples:
        >>> as_list((3, 4)), as_list(7), as_list("nc")
        ([3, 4], [7], ['nc'])
    """
    return list(given) if isinstance(given, (list, tuple)) else [given]
