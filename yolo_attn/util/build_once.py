"""Build a folder atomically, once per set of parameters."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from yolo_attn.errors import YoloAttnError, shorten


def build_once(out: Path, marker: str, parameters: dict, build: Callable[[Path], None]) -> Path:
    """Fill a folder through a temporary sibling and a rename, unless it already holds the same.

    Args:
        out: The folder; may be absent or empty.
        marker: Name of the JSON file, written last, that holds the parameters and the number of files.
        parameters: What the content depends on, as JSON values.
        build: Fills the empty folder it is given.

    Returns:
        `out`.

    Raises:
        YoloAttnError: `out` holds something else, is damaged, or cannot be written.
    """
    if _is_done(out, marker, parameters):
        return out
    partial = out.parent / f".{out.name}.partial-{uuid.uuid4().hex[:8]}"
    try:
        partial.mkdir(parents=True)
        build(partial)
        record = {"parameters": parameters, "files": _count_files(partial)}
        (partial / marker).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if out.is_dir():
            out.rmdir()  # it is empty
        partial.rename(out)
    except OSError as error:
        if _is_done(out, marker, parameters):  # another process was faster
            return out
        raise YoloAttnError(f"cannot write {out}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _is_done(out: Path, marker: str, parameters: dict) -> bool:
    """Tell whether `out` is complete; raise if it is anything but that, absent or an empty folder."""
    advice = "Choose another folder or remove this one."
    if not os.path.lexists(out):
        return False
    if not out.is_dir():
        raise YoloAttnError(f"{out} exists and is not a folder. {advice}")
    try:
        if not any(out.iterdir()):
            return False
        record = json.loads((out / marker).read_text(encoding="utf-8"))
        made_with, files = record["parameters"], record["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise YoloAttnError(f"{out} exists and was not made by this command (no valid {marker}). {advice}") from error
    if made_with != parameters:
        names = [k for k in {**parameters, **made_with} if made_with.get(k) != parameters.get(k)]
        changes = ", ".join(f"{k} {shorten(made_with.get(k))} there, {shorten(parameters.get(k))} now" for k in names)
        raise YoloAttnError(f"{out} was made with other parameters ({changes}). {advice}")
    present = _count_files(out)
    for name, count in files.items():
        if present.get(name, 0) < count:
            raise YoloAttnError(f"{out} is damaged: {name} has {present.get(name, 0)} of {count} files. {advice}")
    return True


def _count_files(folder: Path) -> dict[str, int]:
    """Count the readable files of every sub-folder; a link whose target is gone does not count."""
    counts = {}
    for where, _, names in os.walk(folder):
        name = Path(where).relative_to(folder).as_posix()
        if name != ".":
            counts[name] = sum(os.path.isfile(os.path.join(where, n)) for n in names)
    return counts
