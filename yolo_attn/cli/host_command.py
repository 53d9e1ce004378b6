"""Run the commands of Ultralytics, their words in any order, with attention blocks registered."""

from __future__ import annotations

from yolo_attn import __version__
from yolo_attn.cli.parser import VERBS, own_parser
from yolo_attn.export import command as export_command
from yolo_attn.host.words import host_version, special_command


def run(words: list[str]) -> tuple[str, int]:
    """Run a command of Ultralytics.

    Args:
        words: What follows ``yolo-attn``.

    Returns:
        What to print, and the exit code.

    Raises:
        YoloAttnError: If a word is no mode, task, command or argument.
    """
    is_export = export_command.is_export(words)
    special = special_command(export_command.without_flags(words) if is_export else words, own=VERBS)
    if special == "help":
        return own_parser().format_help().rstrip(), 0
    if special == "version":
        return f"yolo-attn {__version__}\nultralytics {host_version()}", 0
    if is_export and not special:
        return export_command.run(words)
    from yolo_attn.train.yolo import run_host_command

    run_host_command(words)
    return "", 0
