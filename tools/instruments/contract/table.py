"""Store the results of the contract per release, one JSON line each, and format them as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.version import Version

from instruments.contract.promises import FAILED, NOT_HERE, OK, PROMISES
from yolo_attn.util import jsonl, markdown

Row = Mapping[str, Any]


def read(path: Path) -> list[Row]:
    """Return the last row of each set of requirements, ordered by release of Ultralytics and torch."""
    rows = {tuple(row["requirements"]): row for row in jsonl.read(path)}
    return sorted(
        rows.values(), key=lambda r: [Version(str(r["environment"].get(p, "0"))) for p in ("ultralytics", "torch")]
    )


def failures(row: Row) -> list[str]:
    """Return a line per failure; empty if the release passes."""
    lines = [f"{o['check']}: {o['detail']}" for o in row["outcomes"] if o["result"] == FAILED]
    return lines + ([row["ended"]] if row["ended"] else [])


def to_markdown(rows: Iterable[Row]) -> str:
    """Return the table, the reasons of failures and skips, and a line per promise."""
    rows = list(rows)
    head = ["Ultralytics", "torch", "Python", "passed", "failed", "nothing to check"]
    lines = markdown.table(head, [_cells(row) for row in rows])
    lines += ["", *(f"- {what} on {', '.join(found)}: {why}" for (what, why), found in _reasons(rows).items())]
    lines += ["", "The checks:", ""]
    lines += [f"- **{promise}**: {meaning}" for promise, meaning in PROMISES.items()]
    return "\n".join(lines) + "\n"


def to_page(rows: Iterable[Row]) -> str:
    """Return the table as a Markdown page."""
    return "# Releases\n\nWritten by `python tools/versions.py` from versions.jsonl.\n\n" + to_markdown(rows)


def _reasons(rows: Iterable[Row]) -> dict[tuple[str, str], list[str]]:
    """Return the reasons of failures and skips, and the releases of each."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        here = row["environment"]
        title = f"{here.get('ultralytics', '?')} with torch {here.get('torch', '?')}"
        reasons = [("**failed**", reason) for reason in failures(row)]
        absent = [o for o in row["outcomes"] if o["result"] == NOT_HERE]
        reasons += [(f"{o['check']}: nothing to check", o["detail"]) for o in absent]
        for reason in reasons:
            found.setdefault(reason, []).append(title)
    return found


def _cells(row: Row) -> list[str]:
    found = row["environment"]
    failed = [o["check"] for o in row["outcomes"] if o["result"] == FAILED] + (["ended early"] if row["ended"] else [])
    absent = [o["check"] for o in row["outcomes"] if o["result"] == NOT_HERE]
    passed = sum(o["result"] == OK for o in row["outcomes"])
    return [
        *(str(found.get(p, "?")) for p in ("ultralytics", "torch", "python")),
        f"{passed} of {len(row['outcomes'])}",
        ", ".join(failed) or "none",
        ", ".join(absent) or "none",
    ]
