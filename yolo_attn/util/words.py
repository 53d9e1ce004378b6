"""The words of a command line: settings, numbers, and what is said of those that are not understood. Needs no torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from typing import Any

from yolo_attn.errors import YoloAttnError


def key_values(words: Sequence[str]) -> dict[str, Any]:
    """Return what ``key=value`` words set, each value as Python reads it, or else as text."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise YoloAttnError(f"'{word}' is not understood here; settings are written key=value, e.g. epochs=30")
        values[key] = literal({"true": "True", "false": "False", "none": "None"}.get(value.lower(), value))
    return values


def literal(value: Any) -> Any:
    """Read a string such as ``"None"`` or ``"0.5"`` as the Python literal it spells; leave any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # "{[]: 1}"; "((((..."
        return value


def integers(text: str) -> list[int]:
    """Return the seeds of a list with commas."""
    try:
        return [int(t) for t in text.split(",")]
    except ValueError:
        raise YoloAttnError(f"--seeds {text}: give whole numbers with commas, e.g. 0,1,2") from None


def refuse(words: Sequence[str]) -> None:
    """Say that there is no use for further words."""
    if words:
        raise YoloAttnError(f"'{words[0]}' is not understood here; see yolo-attn --help")


def missing(flag: str) -> str:
    """Say that a flag is missing."""
    raise YoloAttnError(f"{flag} is missing")


def say(verb: str) -> Callable[[str], None]:
    """Return a function that tells a verb's progress on stderr."""
    return lambda line: print(f"{verb}: {line}", file=sys.stderr, flush=True)
