"""Read outcomes of tests from pytest's XML reports, and compare those of two runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

PASSED, FAILED, SKIPPED, MISSING = "passed", "failed", "skipped", "did not run"


@dataclass(frozen=True)
class Outcome:
    """End of a test.

    Attributes:
        result: ``PASSED``, ``FAILED``, ``SKIPPED`` or ``MISSING``.
        detail: Error or reason, on one line; empty if it passed.
        seconds: Time it took.
    """

    result: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        """Result, and for a failure the type of the error; two runs have to agree in it."""
        return f"{self.result} {error_type(self.detail)}" if self.result == FAILED else self.result


@dataclass(frozen=True)
class Difference:
    """A test that ended differently in two runs."""

    test: str
    plain: Outcome
    ours: Outcome

    def __str__(self) -> str:
        return f"{self.test}: plain {_short(self.plain)}; with yolo-attn {_short(self.ours)}"


def error_type(detail: str) -> str:
    """Return the type of the error that a failure's message begins with.

    Examples:
        >>> error_type("ValueError: no"), error_type("subprocess.CalledProcessError: Command ..."), error_type("?")
        ('ValueError', 'CalledProcessError', '')
    """
    found = re.match(r"([\w.]+)(:|$)", detail)
    return found[1].rpartition(".")[2] if found else ""


def read_outcomes(junit_xml: str) -> dict[str, Outcome]:
    """Return the outcomes of a report by name of the test, ``test_cli::test_val[task0]``."""
    return {_name(case): _outcome(case) for case in ElementTree.fromstring(junit_xml).iter("testcase")}


def _name(case: Element) -> str:
    """Return the name of a test; parameters that are trainers of this package have the names of Ultralytics'."""
    module = case.get("classname", "").removeprefix("tests.")
    name = re.sub(r"ultralytics__\w+__(?=[A-Z]\w*Trainer)", "", str(case.get("name")))
    return f"{module}::{name}" if module else name


def _outcome(case: Element) -> Outcome:
    seconds = round(float(case.get("time", 0)), 2)
    for tag, result in (("failure", FAILED), ("error", FAILED), ("skipped", SKIPPED)):
        found = case.find(tag)
        if found is not None:
            return Outcome(result, " ".join(found.get("message", "").split())[:500], seconds)
    return Outcome(PASSED, "", seconds)


def compare(plain: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> list[Difference]:
    """Return the tests that ended differently, or failed with errors of different types."""
    missing = Outcome(MISSING)
    pairs = {test: (plain.get(test, missing), ours.get(test, missing)) for test in sorted({*plain, *ours})}
    return [Difference(test, *pair) for test, pair in pairs.items() if pair[0].kind != pair[1].kind]


def unexplained(differences: Sequence[Difference], reasons: Mapping[str, str]) -> list[Difference]:
    """Return the differences that have no reason."""
    return [difference for difference in differences if difference.test not in reasons]


def without_difference(differences: Sequence[Difference], ran: Sequence[str], reasons: Mapping[str, str]) -> list[str]:
    """Return the reasons for tests that ran and showed no difference."""
    return [test for test in reasons if test in ran and test not in {difference.test for difference in differences}]


def counts(outcomes: Mapping[str, Outcome]) -> str:
    """Return passed, failed and skipped as ``161 / 14 / 0``."""
    return " / ".join(str(sum(o.result == kind for o in outcomes.values())) for kind in (PASSED, FAILED, SKIPPED))


def to_json(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Return outcomes as JSON values."""
    return {test: asdict(outcome) for test, outcome in outcomes.items()}


def from_json(stored: Mapping[str, Any]) -> dict[str, Outcome]:
    """Return outcomes from their JSON values."""
    return {test: Outcome(**outcome) for test, outcome in stored.items()}


def _short(outcome: Outcome) -> str:
    return f"{outcome.result} ({outcome.detail[:200]})" if outcome.detail else outcome.result
