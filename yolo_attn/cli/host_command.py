"""Run the commands of Ultralytics, their words in any order, with attention blocks registered."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from yolo_attn import __version__
from yolo_attn.cli.parser import VERBS, help_of, own_parser
from yolo_attn.errors import YoloAttnError
from yolo_attn.export import command as export_command
from yolo_attn.host.words import asked_mode, host_version, modes, special_command, without_key
from yolo_attn.util.imports import imported
from yolo_attn.util.words import check_init


def run(words: list[str], files: Sequence[str] = ()) -> tuple[str, int]:
    """Run a command of Ultralytics.

    Args:
        words: What follows ``yolo-attn``.
        files: Python files or modules to import first.

    Returns:
        What to print, and the exit code.

    Raises:
        YoloAttnError: If a word is no mode, task, command or argument.
    """
    words, init = _without_init(words)
    is_export = export_command.is_export(words)
    special = special_command(export_command.without_flags(words) if is_export else words, own=VERBS)
    if special == "help":
        mode = asked_mode(words)
        return help_of(mode) if mode in modes() else own_parser().format_help().rstrip(), 0
    if special == "version":
        return f"yolo-attn {__version__}\nultralytics {host_version()}", 0
    if is_export and not special:
        with contextlib.redirect_stdout(sys.stderr), imported(files):  # Ultralytics logs to stdout; results go there
            return export_command.run(words)
    with imported(files):
        from yolo_attn.train.yolo import run_host_command

        run_host_command(words, init)
    return "", 0


def _without_init(words: list[str]) -> tuple[list[str], str | None]:
    """Take ``init=``, which Ultralytics does not have, out of the words of a training."""
    others, init = without_key(words, "init")
    if init is None:
        return words, None
    if (mode := asked_mode(others)) not in ("train", "tune"):
        raise YoloAttnError(
            f"init={init} is for train and tune: in any other command{f', such as {mode},' if mode else ''} attention "
            "is as it was trained"
        )
    return others, check_init(init)
