"""Parse the words of a command line: settings, numbers, errors for unknown words. Imports no torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from typing import Any

from yolo_attn.errors import YoloAttnError, one_of

INITS = ("paper", "identity")
"""Ways in which a block may start: as its authors did, or as y = x."""


def key_values(words: Sequence[str]) -> dict[str, Any]:
    """Parse ``key=value`` words; values are Python literals, or else text."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise YoloAttnError(f"'{word}' is not understood here; settings are written key=value, e.g. epochs=30")
        values[key] = literal({"true": "True", "false": "False", "none": "None"}.get(value.lower(), value))
    return values


def literal(value: Any) -> Any:
    """Convert a string such as ``"None"`` or ``"0.5"`` to its Python literal; return other values unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # "{[]: 1}"; "((((..."
        return value


def integers(text: str) -> list[int]:
    """Parse seeds separated by commas."""
    try:
        return [int(t) for t in text.split(",")]
    except ValueError:
        raise YoloAttnError(f"--seeds {text}: give whole numbers with commas, e.g. 0,1,2") from None


def refuse(words: Sequence[str]) -> None:
    """Raise an error if there are words left.

    Raises:
        YoloAttnError: If there are.
    """
    if words:
        raise YoloAttnError(f"'{words[0]}' is not understood here; see yolo-attn --help")


def missing(flag: str) -> str:
    """Raise an error for a missing flag.

    Raises:
        YoloAttnError: Always.
    """
    raise YoloAttnError(f"{flag} is missing")


def log_to_stderr(verb: str) -> Callable[[str], None]:
    """Return a function that logs progress of a verb to stderr, one line per call."""
    return lambda line: print(f"{verb}: {line}", file=sys.stderr, flush=True)


def check_init(init: object) -> str:
    """Return the name of an initialisation of blocks.

    Raises:
        YoloAttnError: If it is neither ``paper`` nor ``identity``.
    """
    if not isinstance(init, str) or init not in INITS:
        raise YoloAttnError(one_of("init", init, INITS))
    return init
