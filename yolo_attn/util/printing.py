"""Print to streams that cannot show every character, and to pipes whose reader has gone."""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import select
import sys
import unicodedata
from collections.abc import Iterator
from typing import TextIO

_HANDLER = "yolo_attn.readable"
_READABLE = {
    "−": "-", "–": "-", "—": "-", "×": "x", "·": "-", "±": "+-", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~",
    "Δ": "d", "µ": "u", "“": '"', "”": '"', "‘": "'", "’": "'", "•": "*", "━": "-", "█": "#", "✓": "ok", "✅": "ok",
}  # fmt: skip
CLOSED_PIPE = 141
"""Exit code of a process that a closed pipe ends, as a shell counts it."""


def as_ascii(text: str) -> str:
    """Return text in ASCII: signs by others that read alike, letters without accents, ``?`` for what has neither.

    Examples:
        >>> as_ascii("−0.5 ± 0.1, é, 車")
        '-0.5 +- 0.1, e, ?'
    """
    return "".join(_in_ascii(character) for character in text)


def _in_ascii(character: str) -> str:
    if character.isascii():
        return character
    if character in _READABLE:
        return _READABLE[character]
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):  # an accent, or which form an emoji has
        return ""
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    if all("\udc80" <= character <= "\udcff" for character in wrong):  # bytes of a file's name that are no text
        return bytes(ord(character) - 0xDC00 for character in wrong), error.end
    return as_ascii(wrong), error.end


codecs.register_error(_HANDLER, _replaced)


def take_any_text() -> list[tuple[io.TextIOWrapper, str | None]]:
    """Have stdout and stderr replace what their encoding lacks; return them with how they took errors before."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [(stream, stream.errors) for stream in streams]
    for stream in streams:
        if stream.errors in ("strict", "surrogateescape", "backslashreplace"):
            stream.reconfigure(errors=_HANDLER)
    return before


@contextlib.contextmanager
def any_text() -> Iterator[None]:
    """Let stdout and stderr take any text, whatever their encoding: what it lacks is replaced, see :func:`as_ascii`.

    A message to a stream whose reader has gone is not logged, without the traceback that logging would print.
    """
    reports, logging.raiseExceptions = logging.raiseExceptions, False
    changed = take_any_text()
    try:
        yield
    finally:
        silence_closed()
        logging.raiseExceptions = reports
        for stream, errors in changed:
            with contextlib.suppress(ValueError, OSError):  # closed meanwhile
                stream.reconfigure(errors=errors)


def silence_closed() -> bool:
    """Lead stdout and stderr to nowhere where their reader, such as ``head``, has gone; tell whether one has."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
    for stream in gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(gone)


def _is_closed(stream: TextIO) -> bool:
    try:
        stream.flush()
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (AttributeError, ValueError, OSError):  # Windows; a stream that is closed or has no file
        return False
