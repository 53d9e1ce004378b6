"""Run ``yolo-attn export``, which exports like ``yolo export`` and then checks the file, and ``yolo-attn pack``."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host.words import asked_mode
from yolo_attn.util.words import refuse

OWN_FLAGS = ("--no-check", "--json")


def is_export(words: Sequence[str]) -> bool:
    """Tell whether the words of a host's command ask for an export, in any of the ways ``yolo`` takes."""
    return asked_mode(words) == "export"


def without_flags(words: Sequence[str]) -> list[str]:
    """Return the words that are Ultralytics'.

    Raises:
        YoloAttnError: If a flag is misspelled.
    """
    for word in [word for word in words if word.startswith("--") and word not in OWN_FLAGS]:
        if difflib.get_close_matches(word, OWN_FLAGS, cutoff=0.8):
            raise YoloAttnError(one_of("flag", word, OWN_FLAGS))
    return [word for word in words if word not in OWN_FLAGS]


def run(words: Sequence[str]) -> tuple[str, int]:
    """Export and check.

    Args:
        words: What follows ``yolo-attn``, with ``--no-check`` and ``--json`` anywhere among them.

    Returns:
        What was found, and the exit code: 0, or 1 where the file differs from PyTorch.
    """
    given = without_flags(words)
    from yolo_attn.export.check import CheckedExport, check
    from yolo_attn.export.host import run_export_command

    exported = run_export_command(given)
    if exported is None:
        return "", 0
    if "--no-check" in words:
        found = CheckedExport(exported.file, exported.format, exported.precision, not_checked="--no-check")
    else:
        found = check(exported)
    for line in found.failures:
        print(f"yolo-attn: the exported file differs from PyTorch: {line}", file=sys.stderr)
    return json.dumps(found.as_dict()) if "--json" in words else str(found), int(bool(found.failures))


def add_pack_flags(pack: argparse.ArgumentParser) -> None:
    """Add the flags of ``yolo-attn pack`` to its parser."""
    pack.add_argument("model", help="checkpoint, e.g. best.pt")
    pack.add_argument("-o", "--output", required=True, help="folder to write")
    pack.add_argument("--imgsz", type=int, help="side of the images it is checked at (default: as it was trained)")


def run_pack(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Carry ``yolo-attn pack`` out."""
    refuse(trailing)
    from yolo_attn.export.pack import pack, summary

    return summary(pack(arguments.model, arguments.output, arguments.imgsz)), 0
