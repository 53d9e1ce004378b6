"""Write the results of the host's tests: a table, every difference with its reason, and all outcomes as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instruments.host_suite.outcomes import (
    FAILED,
    PASSED,
    Difference,
    Outcome,
    compare,
    counts,
    from_json,
    to_json,
    unexplained,
    without_difference,
)
from yolo_attn.util import markdown
from yolo_attn.util.env import describe

Outcomes = Mapping[str, Outcome]
HEAD = ("tests of Ultralytics", "run", "plain: passed / failed / skipped", "with yolo-attn", "differences")


@dataclass
class Results:
    """Results of all runs.

    Attributes:
        command: The command that gave the results.
        environment: Hardware and versions.
        attention: Block and places, in words.
        plain: Outcomes per file of tests.
        ours: Outcomes per file and way of running it.
        clients: Results of the checks of other packages.
        seconds: Time of the plain runs, and of those with this package.
        reasons: Reasons of differences.
        whole: Whole files were run, so that a reason for a test that they do not have is out of date.
    """

    command: str
    environment: dict[str, Any]
    attention: str
    plain: dict[str, Outcomes]
    ours: dict[tuple[str, str], Outcomes]
    clients: list[dict[str, str]]
    seconds: dict[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True

    def differences(self) -> list[Difference]:
        """Return all differences, named as in ``REASONS``."""
        return [
            Difference(_named(found.test, way), found.plain, found.ours)
            for (file, way), outcomes in self.ours.items()
            for found in compare(self.plain[file], outcomes)
        ]

    def problems(self) -> list[str]:
        """Return a line for every difference without a reason, reason without a difference, and failed client."""
        found = self.differences()
        ran = [_named(test, way) for (_, way), outcomes in self.ours.items() for test in outcomes]
        ran += [test for test in self.reasons if self.whole and _file(test) in self._files()]
        empty = [f"{file}: no test ran" for file, outcomes in self.plain.items() if not outcomes]
        return [
            *empty,
            *(f"no reason for: {difference}" for difference in unexplained(found, self.reasons)),
            *(f"a reason without a difference: {test}" for test in without_difference(found, ran, self.reasons)),
            *(f"{check['check']}: {check['result']}" for check in self.clients if check["result"] != "equal"),
        ]

    def _files(self) -> list[str]:
        return [_named(file, way) for file, way in self.ours]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "command": self.command,
            "environment": self.environment,
            "attention": self.attention,
            "seconds": self.seconds,
            "plain": {file: to_json(outcomes) for file, outcomes in self.plain.items()},
            "with yolo-attn": {_named(file, way): to_json(outcomes) for (file, way), outcomes in self.ours.items()},
            "clients": self.clients,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], reasons: Mapping[str, str]) -> Results:
        """Return results from their JSON values, with reasons of today."""
        return cls(
            **{name: stored[name] for name in ("command", "environment", "attention", "seconds", "clients")},
            plain={file: from_json(outcomes) for file, outcomes in stored["plain"].items()},
            ours={_run_of(name): from_json(outcomes) for name, outcomes in stored["with yolo-attn"].items()},
            reasons=reasons,
        )


def _run_of(name: str) -> tuple[str, str]:
    """Return file and way of running it; the opposite of :func:`_named`.

    Examples:
        >>> _run_of("test_cli"), _run_of("test_engine@trainers")
        (('test_cli', 'models'), ('test_engine', 'models trainers'))
    """
    file, _, more = name.partition("@")
    return file, f"models {more}".strip()


def _named(test: str, way: str) -> str:
    """Return the name of a test, with the way it was run where that is not the usual one.

    Examples:
        >>> _named("test_cli::test_val", "models"), _named("test_engine::test_task", "models trainers")
        ('test_cli::test_val', 'test_engine::test_task@trainers')
    """
    return test if way == "models" else f"{test}@{way.removeprefix('models ')}"


def _file(test: str) -> str:
    """Return the file of a test and the way it was run, named as in the table.

    Examples:
        >>> _file("test_cli::test_val[a@b]"), _file("test_engine::test_task@trainers")
        ('test_cli', 'test_engine@trainers')
    """
    return test.partition("::")[0] + ("@trainers" if test.endswith("@trainers") else "")


def table(results: Results) -> list[str]:
    """Return the table of files as Markdown lines."""
    rows = []
    for (file, way), ours in results.ours.items():
        plain = results.plain[file]
        found = str(len(compare(plain, ours)))
        rows.append([_named(file, way), str(len(plain)), counts(plain), counts(ours), found])
    usual = [(results.plain[file], ours) for (file, way), ours in results.ours.items() if way == "models"]
    both = [{test: outcome for pair in usual for test, outcome in pair[side].items()} for side in (0, 1)]
    rows.append(["all, each once", str(len(both[0])), *map(counts, both), str(len(compare(*both)))])
    return markdown.table(HEAD, rows)


def to_page(results: Results) -> str:
    """Return the page of results."""
    seconds = results.seconds
    lines = [
        "# The tests of Ultralytics, run with yolo-attn",
        "",
        f"`{results.command}`",
        "",
        f"{describe(results.environment)}. The tests took {seconds['plain'] / 60:.0f} min plain and "
        f"{seconds['ours'] / 60:.0f} min with yolo-attn, on a machine that did other work at the same time.",
        "",
        "The tests are those of the source distribution of the installed Ultralytics, unchanged. *Plain*: without "
        "yolo-attn. *With yolo-attn*: its model classes in the place of Ultralytics', `yolo-attn` in the place of "
        f"`yolo`, and in every weight file and every model YAML of Ultralytics {results.attention}. *@trainers*: its "
        "trainers in the place of Ultralytics' too. What the tests would download is replaced by stand-ins: drawn data "
        "sets, videos made from Ultralytics' two pictures, and random weights with the detector of `--weights`.",
        "",
        *table(results),
        "",
        "A difference is another outcome, or a failure with an error of another type.",
        "",
        *_list_differences(results),
        "",
        "## Failed both ways",
        "",
        "For want of a network, of packages or of trained weights; the error is of the same type.",
        "",
        *(f"- `{test}`: {outcome.detail[:160]}" for test, outcome in _failed_both_ways(results)),
        "",
        "## Other packages",
        "",
        "What they make of a checkpoint with attention, compared with its base model's by value.",
        "",
        *markdown.table(["check", "result"], [[check["check"], check["result"]] for check in results.clients]),
    ]
    return "\n".join(lines) + "\n"


def _list_differences(results: Results) -> list[str]:
    found = results.differences()
    return [
        f"- `{d.test}`: plain {d.plain.result}, with yolo-attn {d.ours.result}"
        f"{_error(d)}. {results.reasons.get(d.test, '**No reason.**')}"
        for d in found
    ] or ["There is none."]


def _error(difference: Difference) -> str:
    detail = (difference.ours if difference.ours.result == FAILED else difference.plain).detail
    return f" ({detail[:160]})" if detail else ""


def _failed_both_ways(results: Results) -> Sequence[tuple[str, Outcome]]:
    usual = {test: o for (_, way), outcomes in results.ours.items() if way == "models" for test, o in outcomes.items()}
    plain = {test: outcome for outcomes in results.plain.values() for test, outcome in outcomes.items()}
    return [(t, o) for t, o in plain.items() if o.result == FAILED and usual.get(t, Outcome(PASSED)).result == FAILED]
