"""Try on the installed releases what this package promises: ``python -m instruments.contract.contract FOLDER``.

Everything is made in the folder. ``contract.jsonl`` there gets the environment in its first line and an outcome in each
line after it, as they come.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from instruments.contract.checks import CHECKS, Check
from instruments.contract.workbench import NotHere, Workbench
from yolo_attn.util.env import environment

OK, FAILED, NOT_HERE = "ok", "failed", "not here"
OUTCOMES = "contract.jsonl"
TOLD = "contract: "
"""Begins the lines on stderr that tell the progress."""


@dataclass(frozen=True)
class Outcome:
    """What came of a check.

    Attributes:
        check: Its name.
        result: ``ok``, ``failed`` or ``not here``.
        detail: What was found, or why not.
        seconds: Time it took.
    """

    check: str
    result: str
    detail: str
    seconds: float


def run(
    folder: Path,
    quick: bool = False,
    checks: Sequence[Check] = CHECKS,
    say: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Carry out checks, store their outcomes and return them.

    Args:
        folder: Folder for everything that is made.
        quick: Try a few models of a kind instead of all of them.
        checks: Which of ``CHECKS``.
        say: Told each outcome, a line each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with (folder / OUTCOMES).open("w", encoding="utf-8", buffering=1) as file:
        file.write(json.dumps({"environment": environment()}) + "\n")
        bench = Workbench(folder, quick)
        for check in checks:
            outcome = _carry_out(check, bench)
            outcomes.append(outcome)
            file.write(json.dumps(asdict(outcome)) + "\n")
            say(f"{outcome.check}: {outcome.result}, {outcome.detail}")
    return outcomes


def name_of(check: Check) -> str:
    """Return a check's name, e.g. ``ready models``."""
    return check.__name__.replace("_", " ")


def _carry_out(check: Check, bench: Workbench) -> Outcome:
    began = time.perf_counter()
    try:
        result, detail = OK, check(bench)
    except NotHere as reason:
        result, detail = NOT_HERE, _one_line(reason)
    except Exception as error:
        traceback.print_exc()
        result, detail = FAILED, f"{type(error).__name__}: {_one_line(error)}"
    return Outcome(name_of(check), result, detail, round(time.perf_counter() - began, 1))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    run(Path(sys.argv[1]), say=lambda line: print(TOLD + line, file=sys.stderr, flush=True))
