"""Command line ``yolo-attn``: what ``yolo`` does, with attention blocks registered, and verbs of this package.

A user's mistake is one line on stderr and exit code 2; anything else that goes wrong keeps its traceback.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from yolo_attn.cli import host_command
from yolo_attn.cli.errors import is_user_error, one_line
from yolo_attn.cli.parser import OWN_FLAGS, VERBS, own_parser
from yolo_attn.errors import YoloAttnError
from yolo_attn.util.imports import imported
from yolo_attn.util.printing import CLOSED_PIPE, any_text, silence_closed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after ``yolo-attn``; those of this process by default.

    Returns:
        The exit code: 0, 1 where runs of a comparison failed, 2 after a user's mistake.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with any_text():
        try:
            return _reported(words)
        except BrokenPipeError:
            if not silence_closed():
                raise
            return CLOSED_PIPE  # who reads the output, such as `head`, has seen enough


def _reported(words: list[str]) -> int:
    """Run a command; print its output, or what went wrong, and return the exit code."""
    try:
        text, code = _run(words)
        if text:
            _print(text)
        return code
    except KeyboardInterrupt:
        again = "; the same command continues where this one stopped" if "compare" in words else ""
        print(f"\nyolo-attn: stopped{again}", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) or not is_user_error(error):
            raise
        print(f"yolo-attn: {one_line(error)}", file=sys.stderr)
        return 2


def _run(words: list[str]) -> tuple[str, int]:
    """Run a command; return its output and exit code."""
    words, files = without_imports(words)
    if words and words[0] not in (*VERBS, *OWN_FLAGS):
        return host_command.run(words, files)
    arguments, trailing = own_parser().parse_known_args(words)
    with contextlib.redirect_stdout(sys.stderr), imported(files):  # Ultralytics logs to stdout, which is for results
        return arguments.run(arguments, trailing)


def without_imports(words: list[str]) -> tuple[list[str], list[str]]:
    """Take every ``--import FILE`` out of the words of a command; return the others and the files."""
    files: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equals, file = word.partition("=")
        if flag != "--import":
            others.append(word)
        elif given := file if equals else next(rest, ""):
            files.append(given)
        else:
            raise YoloAttnError("--import: give a Python file or the name of a module")
    return others, files


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the command is done
        silence_closed()
