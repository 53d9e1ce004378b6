"""Write files atomically, and check names that become files or folders."""

from __future__ import annotations

import json
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError, shorten

LONGEST_NAME = 200
_LEADS_AWAY = re.compile(r"[\x00-\x1f\x7f]|^/|^[A-Za-z]:/|(^|/)\.\.(/|$)")
_NOT_PLAIN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^\.|^ | $')


def write_whole(path: Path, text: str) -> Path:
    """Write a text file atomically: a reader finds all of it, or the previous content."""
    return replace_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file atomically."""
    return write_whole(path, json.dumps(content, indent=2) + "\n")


def write_torch(path: Path, content: Any) -> Path:
    """Write a file by ``torch.save`` atomically."""
    import torch

    return replace_whole(path, lambda part: torch.save(content, part))


def replace_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write to a temporary file and move it into place once complete; a failure leaves nothing.

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


def write_all(folder: Path, files: Mapping[str, bytes], stale: Iterable[str] = ()) -> None:
    """Write several files of a folder: all are written to a temporary place first, then moved.

    Args:
        folder: Where to; made where it does not exist.
        files: Contents by name, relative to the folder; names may have folders in them.
        stale: Files of an earlier time; those that are not written again are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as held:
        parts = {name: Path(held, str(number)) for number, name in enumerate(files)}
        for name, part in parts.items():
            part.write_bytes(files[name])
        for name, part in parts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, folder / name)
    for name in set(stale) - set(files):
        if (folder / name).resolve().is_relative_to(folder.resolve()):
            (folder / name).unlink(missing_ok=True)


def is_whole_archive(path: Path) -> bool:
    """Tell whether a zip archive, such as numpy and torch write, is neither cut short nor changed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error):
        return False


def plain_name(kind: str, name: object) -> str:
    """Return a name if it can be that of a single folder or file on every system.

    Args:
        kind: Noun for the name in error messages.
        name: The name.

    Raises:
        YoloAttnError: If it is no text, is empty or too long, starts with a dot, or holds a separator or a character
            that some file system refuses.

    Examples:
        >>> plain_name("arm", "yolo11n-ela")
        'yolo11n-ela'
    """
    if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and not _NOT_PLAIN.search(name):
        return name
    raise YoloAttnError(
        f"{kind} {shorten(name)} cannot name a folder: give up to {LONGEST_NAME} letters, digits or signs, none of "
        f'them / \\ : * ? " < > | and no dot in front'
    )


def stays_inside(path: str) -> bool:
    """Tell whether a path with ``/`` from an untrusted source stays in the folder it starts from.

    Examples:
        >>> stays_inside("val2017/1.jpg"), stays_inside("../1.jpg"), stays_inside("/etc/hostname")
        (True, False, False)
    """
    return bool(path) and not _LEADS_AWAY.search(path)
