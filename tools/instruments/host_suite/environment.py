"""The environment of the host's tests: the running one, and packages that only they and the clients need."""

from __future__ import annotations

from importlib.metadata import entry_points, requires
from pathlib import Path

from packaging.requirements import Requirement

from instruments.contract.releases import environment_with

COMMANDS = ("yolo", "yolo-attn")
START = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
"""
"""First lines of a command: shell and Python read them differently, so that the interpreter's path may be long."""
CLIENTS = ("supervision", "sahi")
TESTED = ("MNN", "aiohttp", "lap", "mlflow", "optuna", "streamlit")
"""Packages that the host's tests use, in addition to those of exports."""


def environment(work: Path) -> Path:
    """Return the interpreter of the environment; create it in the work folder if needed.

    Raises:
        YoloAttnError: If packages cannot be installed.
    """
    python = environment_with([*exports(), *TESTED, *CLIENTS], work / "environments")
    write_commands(python, python.parent)
    return python


def write_commands(python: str | Path, folder: Path) -> None:
    """Write the commands ``yolo`` and ``yolo-attn`` of an interpreter, as pip writes them."""
    for command in entry_points(group="console_scripts"):
        if command.name in COMMANDS:
            script = folder / command.name
            start = START.format(python=python)
            text = f"{start}import sys\nfrom {command.module} import {command.attr}\nsys.exit({command.attr}())\n"
            script.write_text(text, encoding="utf-8")
            script.chmod(0o755)


def exports() -> list[str]:
    """Return the requirements of this package's extra ``export``."""
    found = [Requirement(line) for line in requires("yolo-attn") or ()]
    chosen = [r for r in found if r.marker and r.marker.evaluate({"extra": "export"})]
    return [f"{r.name}{r.specifier}" for r in chosen if not r.marker.evaluate({"extra": ""})]
