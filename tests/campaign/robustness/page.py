"""Run the fault tests, record the outcome of each, and write the page that counts faults and random cases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from yolo_attn.util.markdown import table

PARTS = {
    "blocks/test_numerics.py": "numbers: huge, tiny, constant, NaN, infinite; four precisions; all sizes and widths",
    "train/test_faulty_data.py": "images, labels, COCO files and stored results that are cut, empty or something else",
    "train/test_faults.py": "a training whose loss is not finite, without memory or disk space, with a killed worker",
    "train/test_exact_resume.py": "a training or a comparison's run, stopped and resumed, ends as an undisturbed one",
    "compare/test_executors.py": "runs of a comparison that fail, are killed, or find no memory",
    "compare/test_stopped.py": "disk full, or the process killed, while a file is written",
    "project/test_security.py": "code in YAMLs, paths out of their folder, secrets, calls that run what they read",
    "train/test_offline.py": "every command without a network",
    "compare/test_at_once.py": "two of the same at the same moment in one folder",
}
Line = Mapping[str, Any]


class Recorder:
    """Pytest plugin that records a line for each test: the number of faults it tried, and its outcome."""

    def __init__(self):
        self.lines: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of a test, or of its setup if that failed or skipped it."""
        if report.when != "call" and report.passed:
            return
        file, _, test = report.nodeid.partition("::")
        faults = dict(report.user_properties).get("faults", 1)
        why = "" if report.passed else str(report.longrepr[2] if report.skipped else report.longreprtext)[-300:]
        self.lines.append(
            {
                "part": Path(file).name,
                "test": ascii(test)[1:-1],
                "outcome": report.outcome,
                "faults": faults,
                "why": why,
            }
        )


def try_faults(tests: Path, save_to: Path) -> list[dict[str, Any]]:
    """Run the tests of faults, slow ones included; write a JSON line for each."""
    recorder = Recorder()
    words = ["-q", "-p", "no:cacheprovider", "-m", "", *(str(tests / part) for part in PARTS)]
    pytest.main(words, plugins=[recorder])
    save_to.parent.mkdir(parents=True, exist_ok=True)
    save_to.write_text("".join(json.dumps(line) + "\n" for line in recorder.lines), encoding="utf-8")
    return recorder.lines


def to_markdown(cases: Iterable[Line], faults: Iterable[Line], about: str) -> str:
    """Return the page: how many cases and faults were tried, and how many failures are left."""
    *cases, end = cases
    faults = list(faults)
    failed = sum(c["outcome"] == "failed" for c in cases) + sum(f["outcome"] == "failed" for f in faults)
    tried = sum(f["faults"] for f in faults if f["outcome"] != "skipped")
    lines = [
        "# How much it takes",
        "",
        f"{len(cases):,} random cases and {tried:,} faults were tried; **{failed} failures are left**. {about}",
        "What counts as a failure, and where the line to Ultralytics' own errors is: [robustness](../robustness.md).",
        "",
        "## Random cases",
        "",
        f"`python tools/fuzz.py --cases {end['cases']} --seed {end['seed']}`",
        "",
        *table(
            ["kind", "cases", "worked", "refused by a clear error", "kinds of refusal", "Ultralytics' own", "failed"],
            [_kind_row(k, [c for c in cases if c["kind"] == k]) for k in dict.fromkeys(c["kind"] for c in cases)],
        ),
        "",
        "## Faults",
        "",
        "`python tools/check_robustness.py`, which runs these tests, and writes this page.",
        "",
        *table(
            ["what", "tests", "faults tried", "left out", "failed"],
            [_part_row(p, what, [f for f in faults if f["part"] == Path(p).name]) for p, what in PARTS.items()],
        ),
    ]
    if skipped := sorted({f["why"] for f in faults if f["outcome"] == "skipped"}):
        lines += ["", "Left out: " + "; ".join(skipped) + "."]
    return "\n".join(lines) + "\n"


def _kind_row(kind: str, cases: list[Line]) -> list[str]:
    count = Counter(c["outcome"] for c in cases)
    refusals = len({c["why"] for c in cases if c["outcome"] == "refused"})
    ended = [count[outcome] for outcome in ("worked", "refused")]
    rest = [refusals, count["Ultralytics' own"], count["failed"]]
    return [kind, *(f"{number:,}" for number in (len(cases), *ended, *rest))]


def _part_row(part: str, what: str, faults: list[Line]) -> list[str]:
    count = Counter(f["outcome"] for f in faults)
    tried = sum(f["faults"] for f in faults if f["outcome"] != "skipped")
    numbers = (len(faults), tried, count["skipped"], count["failed"])
    return [f"{what} (`tests/{part}`)", *(f"{number:,}" for number in numbers)]
