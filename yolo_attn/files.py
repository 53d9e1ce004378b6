"""Write files whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, text: str) -> Path:
    """Write a text file so that whoever reads it finds all of it, or what was there before."""
    return replace_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file whole or not at all."""
    return write_whole(path, json.dumps(content, indent=2) + "\n")


def write_torch(path: Path, content: Any) -> Path:
    """Write a file of ``torch.save`` whole or not at all."""
    import torch

    return replace_whole(path, lambda part: torch.save(content, part))


def replace_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Have a file written beside its place and put there once it is complete; nothing is left of a failed attempt.

    Args:
        path: The file.
        write: Writes the file at the path it is given.

    Returns:
        ``path``.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
