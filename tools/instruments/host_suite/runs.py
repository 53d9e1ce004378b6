"""Run files of the host's tests, each in a folder and a process of its own, and keep the outcomes of plain runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from instruments.host_suite.outcomes import Outcome, from_json, read_outcomes, to_json
from instruments.host_suite.standins import StandIns, offline
from instruments.paths import ROOT, variables
from yolo_attn.util.env import cores
from yolo_attn.util.files import write_json

PLOTS = ("test_python", "test_cli", "test_solutions")
"""Files whose tests look at plots, or run in other processes."""
PLAIN, MODELS, TRAINERS = "plain", "models", "models trainers"


@dataclass(frozen=True)
class Run:
    """One file of tests, run in one way.

    Attributes:
        file: Name of the file without suffix.
        replaces: What this package replaces: ``PLAIN``, ``MODELS`` or ``TRAINERS``.
    """

    file: str
    replaces: str = PLAIN

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.file}-{self.replaces.replace(' ', '-')}"


@dataclass
class Suite:
    """The host's tests, and what they are run with.

    Attributes:
        work: Work folder.
        tests: Folder of the tests.
        stand_ins: What they would download.
        python: Interpreter with the packages that the tests use.
        jobs: Files run at a time.
        keyword: Expression of pytest's ``-k``.
        seconds: Limit per test.
        log: Receives progress lines.
    """

    work: Path
    tests: Path
    stand_ins: StandIns
    python: Path
    jobs: int = 1
    keyword: str = ""
    seconds: float = 600.0
    log: Callable[[str], None] = field(default=print)

    def run(self, runs: list[Run]) -> dict[Run, dict[str, Outcome]]:
        """Run files of tests, several at a time, and return their outcomes."""
        with ThreadPoolExecutor(self.jobs) as pool:
            return dict(zip(runs, pool.map(self.outcomes, runs), strict=True))

    def outcomes(self, run: Run) -> dict[str, Outcome]:
        """Return the outcomes of a file; those of a plain run are kept, because they do not depend on this package."""
        stored = self.stand_ins.plain / "outcomes" / f"{run.name}-{self._selection()}.json"
        if run.replaces == PLAIN and stored.is_file():
            self.log(f"{run.name}: stored outcomes")
            return from_json(json.loads(stored.read_text(encoding="utf-8")))
        found = self._pytest(run)
        if run.replaces == PLAIN and found:
            stored.parent.mkdir(exist_ok=True)
            write_json(stored, to_json(found))
        return found

    def _selection(self) -> str:
        return "".join(letter if letter.isalnum() else "_" for letter in self.keyword) or "all"

    def _pytest(self, run: Run) -> dict[str, Outcome]:
        folder, began = self._folder(run), time.perf_counter()
        report = folder / "report.xml"
        words = ["-p", "instruments.host_suite.plugin", "-p", "no:cacheprovider", "-n", "1", "--dist", "loadfile"]
        words += [
            "-v",
            "--tb=short",
            "-o",
            "junit_family=xunit2",
            f"--junitxml={report}",
            f"--basetemp={folder / 'tmp'}",
            f"tests/{run.file}.py",
        ]
        words += ["-k", self.keyword] if self.keyword else []
        with (folder / "log.txt").open("w", encoding="utf-8") as log:
            code = subprocess.call(
                [self.python, "-m", "pytest", *words],
                cwd=folder,
                env=self._variables(run, folder),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        found = read_outcomes(self._without_paths(report, folder)) if report.is_file() else {}
        self.log(f"{run.name}: {len(found)} tests, {time.perf_counter() - began:.0f} s, exit code {code}")
        return found

    def _without_paths(self, report: Path, folder: Path) -> str:
        """Return the text of a report with names in the place of this machine's folders."""
        text = report.read_text(encoding="utf-8")
        for name, place in (("run", folder), ("work", self.work), ("checkout", ROOT), ("python", sys.prefix)):
            text = text.replace(str(place), name)
        return text

    def _variables(self, run: Run, folder: Path) -> dict[str, str]:
        threads = str(max(1, cores() // self.jobs))
        return variables(
            **offline(folder, self.stand_ins.plain, self.python),
            OMP_NUM_THREADS=threads,
            HOST_SUITE_SECONDS=str(self.seconds),
            HOST_SUITE_PLOTS="1" if run.file in PLOTS else "",
            HOST_SUITE_REPLACES="" if run.replaces == PLAIN else run.replaces,
        )

    def _folder(self, run: Run) -> Path:
        """Return a new folder for a run, with its tests, stand-ins and settings."""
        folder = self.work / "runs" / run.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copytree(self.tests, folder / "tests")
        self.stand_ins.copy_to(folder, attention=run.replaces != PLAIN)
        (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n", encoding="utf-8")
        write_settings(folder)
        return folder


def write_settings(folder: Path) -> None:
    """Write Ultralytics' settings of a run: its weights, data sets and results lie in its folder."""
    from ultralytics.utils import SettingsManager

    file = folder / "config" / "Ultralytics" / "settings.json"
    file.parent.mkdir(parents=True)
    places = {f"{name}_dir": str(folder / name) for name in ("weights", "datasets", "runs")}
    SettingsManager(file).update(**places, sync=False)
