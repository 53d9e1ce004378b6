"""The raw lines of a bench: written as they come, and read only where they are complete. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.speed.spec import closing_line

RAW = "bench.jsonl"

Record = dict[str, Any]


def write_raw(folder: Path, records: Iterable[Record]) -> Path:
    """Write records as they come, and a closing line once all are there; what was there before is dropped."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = 0
    with (folder / RAW).open("w", encoding="utf-8") as file:
        for record in records:
            print(json.dumps(record), file=file, flush=True)
            lines += 1
        print(json.dumps(closing_line(lines)), file=file)
    return folder / RAW


def read_raw(folder: Path) -> list[Record]:
    """Return the records of a bench, the closing line left out.

    Raises:
        YoloAttnError: If there are none, or they were cut short.
    """
    file = folder / RAW
    if not file.is_file():
        raise YoloAttnError(f"'{folder}' holds no bench: there is no {RAW} in it")
    try:
        *records, last = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError:
        records, last = [], None
    if not records or last != closing_line(len(records)):
        raise YoloAttnError(f"'{file}' is incomplete: the measurement was stopped before its end; run it again")
    return records
