"""Raw lines of a bench: written as they are measured, read only if complete. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from yolo_attn.errors import YoloAttnError
from yolo_attn.util import jsonl
from yolo_attn.util.jsonl import Record

RAW = "bench.jsonl"


def write_raw(folder: Path, records: Iterable[Record]) -> Path:
    """Write records to a folder one by one, replacing an earlier bench, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    jsonl.write_complete(folder / RAW, records)
    return folder / RAW


def read_raw(folder: Path) -> list[Record]:
    """Return the records of a bench.

    Raises:
        YoloAttnError: If there are none, the measurement was stopped before its end, or the file is damaged.
    """
    file = folder / RAW
    if not file.is_file():
        raise YoloAttnError(f"'{folder}' holds no bench: there is no {RAW} in it")
    records = jsonl.read_complete(file)
    if records is None:
        raise YoloAttnError(
            f"'{file}' is incomplete: the measurement was stopped before its end, or the file changed; run it again"
        )
    return records
