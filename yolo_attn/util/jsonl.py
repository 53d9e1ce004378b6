"""Read, append and complete JSON-lines files: one JSON object per line, written as it comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record to a file, creating the file if needed."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[Record]:
    """Return all records of a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not JSON.
    """
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_complete(path: Path, records: Iterable[Record]) -> None:
    """Overwrite a file with records, flushing each as it comes, and add a closing line after the last.

    A file whose writer was stopped has no closing line, and :func:`read_complete` rejects it.
    """
    lines, seen = 0, hashlib.sha256()
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            line = json.dumps(record) + "\n"
            file.write(line)
            file.flush()
            seen.update(line.encode())
            lines += 1
        file.write(json.dumps({**closing_line(lines), "sha256": seen.hexdigest()}) + "\n")


def read_complete(path: Path) -> list[Record] | None:
    """Return the records before the closing line, or ``None`` if the file is missing, empty, incomplete or changed.

    The checksum in the closing line is optional.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        *records, last = map(json.loads, lines)
        wanted = last.pop("sha256", None)
    except (FileNotFoundError, ValueError, AttributeError):  # ValueError also where there is no line
        return None
    if not records or last != closing_line(len(records)) or not all(isinstance(record, dict) for record in records):
        return None
    seen = hashlib.sha256("".join(f"{line}\n" for line in lines[:-1]).encode()).hexdigest()
    return records if wanted in (None, seen) else None


def closing_line(lines: int) -> Record:
    """Return the last record of a complete file, which states the number of lines before it."""
    return {"kind": "complete", "lines": lines}
