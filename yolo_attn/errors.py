"""Define the error that a user's mistake raises, and build its message with the nearest match."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class YoloAttnError(ValueError):
    """Error caused by user input; the message states the given value, the allowed values and the nearest match.

    The message is always one line. The command line prints it and exits with 2; any other exception is a defect and
    keeps its traceback.
    """

    def __init__(self, message: object = ""):
        super().__init__(" ".join(str(message).split()))


def like(error: BaseException | type[BaseException], message: object) -> YoloAttnError:
    """Return an error with a message for the user that is still caught as the error it replaces.

    Code that catches what Ultralytics or torch raises, e.g. ``except torch.OutOfMemoryError``, goes on to work.

    Args:
        error: The error to replace, or its class.
        message: What to tell the user.

    Examples:
        >>> isinstance(like(FileNotFoundError(), "no model 'a.yaml'"), FileNotFoundError)
        True
    """
    host: Any = error if isinstance(error, type) else type(error)
    try:
        made = _like_class(host)(message)
        if isinstance(error, OSError) and isinstance(made, OSError):
            made.errno, made.strerror, made.filename = error.errno, error.strerror, error.filename
        return made
    except TypeError:  # of a class that takes more than a message, such as UnicodeDecodeError
        return YoloAttnError(message)


@functools.cache
def _like_class(host: Any) -> Any:
    if issubclass(host, YoloAttnError) or issubclass(YoloAttnError, host):
        return max(host, YoloAttnError, key=lambda cls: len(cls.__mro__))
    members: dict[str, Any] = {
        "__module__": __name__,
        "__str__": lambda self: str(self.args[0]),  # a KeyError would quote its message
        "__reduce__": lambda self: (like, (host, self.args[0])),
    }
    try:
        return type(YoloAttnError.__name__, (YoloAttnError, host), members)
    except TypeError:  # a class whose instances are laid out in another way
        return YoloAttnError


def one_of(kind: str, value: object, allowed: Iterable[str], also: Iterable[str] = ()) -> str:
    """Return an error message for an unknown name: the nearest match and all allowed names.

    Args:
        kind: Noun for the value, e.g. ``"block"``.
        value: The rejected value.
        allowed: The accepted values, all of them listed in the message.
        also: Further accepted values, too many to list; searched for the nearest match only.

    Examples:
        >>> one_of("block", "ELAA", ["SE", "ELA"])
        "unknown block 'ELAA'. Did you mean 'ELA'? Allowed: SE, ELA"
    """
    names = [str(a) for a in allowed]
    folded = {n.casefold(): n for n in reversed([*names, *map(str, also)])}
    near = difflib.get_close_matches(str(value).casefold(), list(folded), n=1, cutoff=0.5)
    hint = f" Did you mean '{folded[near[0]]}'?" if near else ""
    return f"unknown {kind} {str(value)!r}.{hint} Allowed: {', '.join(names)}"


def nearest_file(missing: Path, pattern: str, also: Iterable[str] = (), cutoff: float = 0.6) -> str:
    """Return the end of an error message for a missing file: the one in its folder with the most similar name.

    Args:
        missing: The file that is not there.
        pattern: Glob pattern of the files to look among, e.g. ``*.pt``.
        also: Further names.
        cutoff: Least similarity, from 0 to 1.
    """
    there = [file.name for file in missing.parent.glob(pattern)] if missing.parent.is_dir() else []
    near = difflib.get_close_matches(missing.name, [*there, *also], n=1, cutoff=cutoff)
    return f". Did you mean '{missing.parent / near[0]}'?" if near else ""


def shorten(value: object) -> str:
    """Return a value as Python writes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(names: Iterable[object], most: int = 3) -> str:
    """Return the first names with commas, and whether there are more.

    Examples:
        >>> listed(["a", "b", "c", "d"])
        'a, b, c, ...'
    """
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
