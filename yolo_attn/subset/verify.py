"""Decode every image of a subset, to find those that are damaged behind their headers."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from yolo_attn.subset.sizes import UNREADABLE
from yolo_attn.subset.sources import SPLITS


def undecodable(folder: Path) -> dict[str, str]:
    """Decode all images of a written subset; return why those that cannot be decoded cannot, by ``split/name``."""
    paths = [path for split in SPLITS for path in sorted((folder / "images" / split).iterdir())]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        reasons = list(threads.map(_why_not, paths))
    return {f"{path.parent.name}/{path.name}": why for path, why in zip(paths, reasons, strict=True) if why}


def _why_not(path: Path) -> str | None:
    try:
        with Image.open(path) as picture:
            picture.load()
        return None
    except UNREADABLE as error:
        return " ".join(str(error).split()).replace(str(path), "it")


def stored_notes(folder: Path) -> list[str]:
    """Return the notes on wrong sizes and unreadable files that a subset was written with."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return list(summary.get("notes_on_files", []))
