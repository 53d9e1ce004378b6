"""Run the notebook of the documentation in an empty folder, and store its outputs."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

from instruments.paths import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "attention-in-yolo.ipynb"
CHINESE = NOTEBOOK.with_suffix(".zh.ipynb")
_SECONDS = 900  # for one cell
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def execute(notebook: Path, folder: Path) -> Any:
    """Run a notebook in a process of its own, as in an activated environment.

    Args:
        notebook: File of the notebook; it is not changed.
        folder: Working directory.

    Returns:
        The notebook with its outputs.
    """
    read = nbformat.read(notebook, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(
        read, timeout=_SECONDS, kernel_name="python3", resources=place, coalesce_streams=True
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    client.execute(env={**os.environ, "PATH": path})
    return read


def text_of(cell: Any) -> str:
    """Return what a cell has printed to stdout, without colours and lines that were written over."""
    printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    return re.sub(r"\n{3,}", "\n\n", _CONTROL.sub("", printed.replace("\r\n", "\n")))


def store(executed: Any, notebook: Path) -> None:
    """Write the outputs of an executed notebook into one with the same code."""
    target = nbformat.read(notebook, as_version=4)
    for cell, done in zip(target.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            text = text_of(done)
            pictures = [output for output in done.outputs if "image/png" in output.get("data", {})]
            cell.outputs = [nbformat.v4.new_output("stream", text=text)] * bool(text) + pictures
            cell.execution_count = done.execution_count
    nbformat.write(target, notebook)


def main() -> None:
    """Run the notebook, and store its outputs in the files of both languages."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        executed = execute(NOTEBOOK, Path(folder))
    for notebook in (NOTEBOOK, CHINESE):
        store(executed, notebook)
