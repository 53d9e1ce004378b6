"""Command line of ``tools/host_suite.py``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from instruments.host_suite import clients, report
from instruments.host_suite.environment import environment
from instruments.host_suite.reasons import REASONS
from instruments.host_suite.runs import MODELS, PLAIN, TRAINERS, Run, Suite
from instruments.host_suite.source import FILES, fetch_tests
from instruments.host_suite.standins import StandIns, offline
from instruments.paths import RESULTS, variables
from yolo_attn.errors import YoloAttnError
from yolo_attn.util import env
from yolo_attn.util.files import write_json, write_whole
from yolo_attn.util.words import log_to_stderr

STORED = RESULTS / "host-suite"
WITH_TRAINERS = ("test_engine",)
"""Files whose tests use Ultralytics' trainers directly; run once more with the trainers of this package."""


def host_suite(words: Sequence[str] | None = None) -> int:
    """Run ``tools/host_suite.py``.

    Returns:
        The exit code: 0, 1 where a difference has no reason or a reason no difference, 2 where nothing could be run.
    """
    asked = _parser().parse_args(words)
    if asked.show:
        stored = json.loads(STORED.with_suffix(".json").read_text(encoding="utf-8"))
        return finish(report.Results.from_json(stored, REASONS), STORED)
    try:
        with tempfile.TemporaryDirectory(prefix="host-suite-") as scratch:
            results = run(asked, Path(asked.work or scratch).resolve(), sys.argv[1:] if words is None else words)
    except YoloAttnError as error:
        print(f"host_suite: {error}", file=sys.stderr)
        return 2
    return finish(results, asked.output or (None if asked.only or asked.keyword else STORED))


def finish(results: report.Results, target: Path | None) -> int:
    """Print results, write them if there is a place for them, and return the exit code."""
    print("\n".join(report.table(results)))
    problems = results.problems()
    print("\n".join(problems) or "every difference has a reason")
    if target:
        write_whole(target.with_suffix(".md"), report.to_page(results))
        write_json(target.with_suffix(".json"), results.to_json())
        print(f"wrote {target.with_suffix('.md')}")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run Ultralytics' own tests plain and with yolo-attn in its place, and explain every difference."
    )
    parser.add_argument("--work", type=Path, help="folder that keeps downloads, stand-ins and outcomes of plain runs")
    parser.add_argument("--weights", type=Path, help="real weights of a detector (default: random ones)")
    parser.add_argument("--block", default="ELA", help="attention block (default: %(default)s)")
    parser.add_argument("--at", action="append", default=[], help="where to put it (default: neck:P3,P4,P5)")
    parser.add_argument("--only", action="append", choices=FILES, help="run this file of tests; may be repeated")
    parser.add_argument("-k", dest="keyword", default="", metavar="EXPRESSION", help="run tests that match")
    parser.add_argument("--jobs", type=int, default=1, help="files run at a time (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=600, help="limit per test (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="run nothing; write the page anew from the stored results")
    parser.add_argument("-o", "--output", type=Path, help="results to write (default: of a whole run, in docs/results)")
    return parser


def run(asked: argparse.Namespace, work: Path, words: Sequence[str]) -> report.Results:
    """Run the tests both ways, and the checks of other packages.

    Raises:
        YoloAttnError: If the tests, the stand-ins or the environment cannot be had.
    """
    log = log_to_stderr("host_suite")
    work.mkdir(parents=True, exist_ok=True)
    stand_ins = StandIns(work, asked.weights and asked.weights.resolve(), asked.block, asked.at)
    python = environment(work)
    suite = Suite(work, fetch_tests(work), stand_ins, python, asked.jobs, asked.keyword, asked.seconds, log)
    log("making stand-ins")
    stand_ins.make()
    files = asked.only or FILES
    pairs = [Run(file, way) for file in files for way in (PLAIN, MODELS)]
    outcomes = suite.run(pairs + [Run(file, TRAINERS) for file in WITH_TRAINERS if file in files])
    plain = {run: found for run, found in outcomes.items() if run.replaces == PLAIN}
    ours = {run: found for run, found in outcomes.items() if run.replaces != PLAIN}
    return report.Results(
        command=" ".join(["python tools/host_suite.py", *(Path(word).name for word in words)]),
        environment=env.environment(),
        attention=f"{asked.block}, which begins as y = x, after {' '.join(asked.at) or 'P3, P4 and P5 of the neck'} "
        "(where a model has no such place: after P5 of the backbone)",
        plain={run.file: outcomes for run, outcomes in plain.items()},
        ours={(run.file, run.replaces): outcomes for run, outcomes in ours.items()},
        clients=[] if asked.only or asked.keyword else check_clients(stand_ins, python, work),
        seconds={"plain": _seconds(plain.values()), "ours": _seconds(ours.values())},
        reasons=REASONS,
        whole=not asked.keyword,
    )


def _seconds(outcomes) -> float:
    return round(sum(outcome.seconds for found in outcomes for outcome in found.values()), 1)


def check_clients(stand_ins: StandIns, python: Path, work: Path) -> list[dict[str, str]]:
    """Run the checks of other packages in a process of their own.

    Raises:
        YoloAttnError: If the process fails.
    """
    folder = work / "clients"
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [python, "-m", clients.__name__, str(stand_ins.plain / "weights"), str(stand_ins.attention / "weights")],
        env=variables(**offline(folder, stand_ins.plain)),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise YoloAttnError(f"the checks of other packages failed: {done.stderr.splitlines()[-1:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
