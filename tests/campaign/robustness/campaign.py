"""Run thousands of random cases, write a JSON line for each, and shrink those that fail."""

from __future__ import annotations

import json
import logging
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from robustness import judge
from robustness.command_lines import command_lines, write_files
from robustness.inserts import calls
from robustness.models import models

Case = Any


class Kind(NamedTuple):
    """A kind of case: its strategy, the function that tries one, and its share of all cases."""

    drawn: st.SearchStrategy
    attempt: Callable[[Case], tuple[str, str]]
    share: float


KINDS = {
    "models": Kind(models(), judge.try_model, 0.5),
    "inserts": Kind(calls(), judge.try_insert, 0.2),
    "command lines": Kind(command_lines(), judge.try_command, 0.3),
}


def run_kind(
    name: str,
    cases: int,
    start: int | None = 0,
    record: Callable[[dict[str, Any]], None] = lambda line: None,
    go_on: bool = False,
) -> None:
    """Try cases of one kind.

    Args:
        name: One of ``KINDS``.
        cases: How many.
        start: Seed of the cases; ``None`` for a fixed sequence.
        record: Called with the record of each case.
        go_on: Continue after failures, instead of stopping at the first and shrinking it.

    Raises:
        Exception: What the smallest failing case raised.
    """
    kind = KINDS[name]

    def attempt(case: Case) -> None:
        try:
            outcome, why = kind.attempt(case)
        except Exception as error:
            record({"kind": name, "outcome": "failed", "why": _summary(error), "case": repr(case)[:2000]})
            if go_on:
                return
            raise
        record({"kind": name, "outcome": outcome, "why": why})

    limits = settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=start is None,
        report_multiple_bugs=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
    )
    test = limits(given(kind.drawn)(attempt))
    with quiet(), _temporary_folder() if name == "command lines" else nullcontext():
        (seed(start)(test) if start is not None else test)()


def _summary(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(where.filename).name}, {where.name}: {str(error)[:200]}"


@contextmanager
def _temporary_folder() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder, "here")  # "../x" stays in the temporary folder
        here.mkdir()
        write_files(here)
        with judge.without_work(here):
            yield


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Ultralytics from logging every model."""
    logger = logging.getLogger("ultralytics")
    level, _ = logger.level, logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def run_all(
    cases: int, start: int, save_to: Path, log: Callable[[str], None], only: str | None = None, go_on: bool = False
) -> int:
    """Try cases of every kind, or of one, write a JSON line for each, and return how many kinds failed."""
    save_to.parent.mkdir(parents=True, exist_ok=True)
    failed = set()
    with save_to.open("w", encoding="utf-8") as file:

        def record(line: dict[str, Any]) -> None:
            print(json.dumps(line), file=file, flush=True)
            if line["outcome"] == "failed":
                failed.add(line["kind"])

        for name, kind in KINDS.items() if not only else [(only, KINDS[only]._replace(share=1))]:
            began, number = time.perf_counter(), round(cases * kind.share)
            try:
                run_kind(name, number, start, record, go_on)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failed.add(name)
                log("".join(traceback.format_exception(error)))
            log(f"{name}: {number} cases in {time.perf_counter() - began:.0f} s")
        print(json.dumps({"kind": "end", "cases": cases, "seed": start, "failures": len(failed)}), file=file)
    return len(failed)
