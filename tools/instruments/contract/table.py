"""What the contract gave on each release, stored a line each and shown as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.version import Version

from instruments.contract.checks import CHECKS
from instruments.contract.contract import FAILED, NOT_HERE, OK, name_of

Row = Mapping[str, Any]


def store(row: Row, path: Path) -> None:
    """Append a release's row; a later row of the same requirements counts."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[Row]:
    """Return the last row of each requirements, by release of Ultralytics and torch."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[tuple(row["requirements"])] = row
    return sorted(
        rows.values(), key=lambda r: [Version(str(r["environment"].get(p, "0"))) for p in ("ultralytics", "torch")]
    )


def failures(row: Row) -> list[str]:
    """Say what failed, a line each; empty where a release keeps the contract."""
    said = [f"{o['check']}: {o['detail']}" for o in row["outcomes"] if o["result"] == FAILED]
    return said + ([row["ended"]] if row["ended"] else [])


def to_markdown(rows: Iterable[Row]) -> str:
    """Return the table, the reasons below it, and what each check is."""
    rows = list(rows)
    lines = ["| Ultralytics | torch | Python | passed | failed | nothing to check |", "| --- " * 6 + "|"]
    lines += [_line(row) for row in rows]
    lines += ["", *(f"- {what} on {', '.join(releases)}: {why}" for (what, why), releases in _reasons(rows).items())]
    lines += ["", "The checks:", ""]
    lines += [f"- **{name_of(check)}**: {(check.__doc__ or '').strip()}" for check in CHECKS]
    return "\n".join(lines) + "\n"


def to_page(rows: Iterable[Row]) -> str:
    """Return the table as a page of its own."""
    return "# Releases\n\nWritten by `python tools/versions.py` from versions.jsonl.\n\n" + to_markdown(rows)


def _reasons(rows: Iterable[Row]) -> dict[tuple[str, str], list[str]]:
    """Return why checks failed or had nothing to check, and the releases of which each is said."""
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


def _line(row: Row) -> str:
    found = row["environment"]
    failed = [o["check"] for o in row["outcomes"] if o["result"] == FAILED] + (["ended early"] if row["ended"] else [])
    absent = [o["check"] for o in row["outcomes"] if o["result"] == NOT_HERE]
    passed = sum(o["result"] == OK for o in row["outcomes"])
    cells = [
        *(str(found.get(p, "?")) for p in ("ultralytics", "torch", "python")),
        f"{passed} of {len(row['outcomes'])}",
        ", ".join(failed) or "none",
        ", ".join(absent) or "none",
    ]
    return "| " + " | ".join(cells) + " |"
