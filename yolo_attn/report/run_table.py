"""The section on the runs: one row each, with links to the files that exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from yolo_attn.report.parts import Link, Part, Row, Section, Table
from yolo_attn.report.results import Results, RunFolder
from yolo_attn.report.seconds import seconds_blocks

FILES = {"log": "log.txt", "curve": "results.csv", "result": "result.json", "gates": "gates.csv"}
"""Files of a run by what they are."""


def run_files(results: Results, out: Path) -> list[str]:
    """Return the files of the runs that exist, relative to the comparison's folder."""
    paths = [f"{run.folder}/{file}" for run in results.runs.folders for file in FILES.values()]
    return [path for path in paths if (out / path).is_file()]


def runs_section(results: Results, files: Iterable[str]) -> Section:
    """Return the table of all runs, and that of where their time went.

    Args:
        results: Results of a comparison.
        files: Existing files, relative to the report.
    """
    held = set(files)
    failed = {(f.arm, f.seed): f.reason for f in results.runs.failed}
    rows = [
        Row([run.arm, str(run.seed), _state(results, run, failed.get((run.arm, run.seed))), _links(run, held)], run.arm)
        for run in results.runs.folders
    ]
    table = Table("Runs", ["model", "seed", "state", "folder and files"], rows, frozenset({0, 2, 3}), sortable=True)
    return Section("runs", "Runs", [table, *seconds_blocks(results)] if rows else [], folded=True)


def _state(results: Results, run: RunFolder, reason: str | None) -> str:
    if reason:
        return f"failed: {reason}"
    arm = next((arm for arm in results.arms if arm.name == run.arm), None)
    return "complete" if arm and run.seed in arm.seeds else "not complete"


def _links(run: RunFolder, files: set[str]) -> Sequence[Part]:
    links = [Link(what, f"{run.folder}/{name}") for what, name in FILES.items() if f"{run.folder}/{name}" in files]
    return [run.folder, *(part for link in links for part in (" · ", link))]
