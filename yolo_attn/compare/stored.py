"""Check that the stored files of a run are whole, and of that run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from yolo_attn.compare.run_folder import (
    CHECKPOINT,
    COCO_MATCHES,
    FILES,
    MATCHES,
    OLD_BOXES,
    RESULT,
    RunSpec,
    checksum,
)
from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.ap import average_precision, mean_average_precision
from yolo_attn.evaluate.coco_ap import Boxes, CocoMatches
from yolo_attn.evaluate.matches import Matches
from yolo_attn.util.files import is_whole_archive

_KINDS: Mapping[str, Any] = {
    "arm": str, "seed": int, "metrics": dict, "ap_tail": str, "epochs": list, "imgsz": int, "device": str,
    "epoch_seconds": list, "first_batches": str, "peak_memory_mb": float | int, "parameters": int,
    "gflops": float | int, "environment": dict,
}  # fmt: skip
"""Facts that every result of a training holds."""

_KINDS_OF_FINISHED = {
    name: _KINDS[name] for name in ("arm", "seed", "metrics", "ap_tail", "imgsz", "device", "environment")
}
"""Facts that every result of a finished training holds."""

_SAME_MAP = 1e-6


class StoredRun(NamedTuple):
    """Result of a run if it is complete, and what is damaged if its files cannot be used."""

    result: dict[str, Any] | None
    damage: str | None = None


def stored_run(spec: RunSpec, root: Path, files: Sequence[str] = (MATCHES, COCO_MATCHES, CHECKPOINT)) -> StoredRun:
    """Return the stored result of a run; it is complete if its files are those that were stored with it.

    Args:
        spec: Spec of the run.
        root: Folder of all runs.
        files: Files to check beside ``result.json``. Those that are not there count as damage only if they are needed:
            the matches, and those of COCO's kind if they were stored.
    """
    folder = root / spec.folder_name
    try:
        result = _read_result(folder / RESULT, spec)
        if result is None:
            return StoredRun(None)
        for name in files:
            _check_file(folder / name, result)
    except YoloAttnError as error:
        return StoredRun(None, str(error))
    return StoredRun(result)


def trained_model(spec: RunSpec, root: Path) -> dict[str, Any] | None:
    """Return the result of a run whose checkpoint is the stored one, whatever else is damaged; ``None`` without one."""
    result = stored_run(spec, root, files=(CHECKPOINT,)).result
    return result if result and CHECKPOINT in result.get(FILES, {}) else None


def _read_result(file: Path, spec: RunSpec) -> dict[str, Any] | None:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise YoloAttnError(f"{RESULT} is damaged ({error})") from error
    if not isinstance(result, dict):
        raise YoloAttnError(f"{RESULT} is damaged (it holds no object)")
    if (result.get("key"), result.get("arm"), result.get("seed")) != (spec.key, spec.arm, spec.seed):
        raise YoloAttnError(f"{RESULT} is that of another run")
    for name, kind in (_KINDS if spec.finished is None else _KINDS_OF_FINISHED).items():
        if not isinstance(result.get(name), kind):
            raise YoloAttnError(f"{RESULT} is damaged ('{name}' is missing or wrong)")
    return result


def _check_file(file: Path, result: Mapping[str, Any]) -> None:
    """Check a file by its stored checksum; by loading it where none was stored.

    Raises:
        YoloAttnError: If it is not the one that was stored.
    """
    wanted = result.get(FILES, {}).get(file.name)
    try:
        seen = file.stat()
    except FileNotFoundError:
        if file.name == MATCHES or (wanted and file.name != CHECKPOINT):
            raise YoloAttnError(f"{file.name} is missing") from None
        return
    if wanted is None:
        _loaded(file, seen.st_size, seen.st_mtime_ns, result["ap_tail"], result["metrics"].get("mAP50-95"))
    elif wanted != _checksum(file, seen.st_size, seen.st_mtime_ns):
        raise YoloAttnError(f"{file.name} is damaged or of another run (its checksum is not that in {RESULT})")


@functools.lru_cache(4096)
def _checksum(file: Path, size: int, changed: int) -> str:
    return checksum(file.read_bytes())


@functools.lru_cache(4096)
def _loaded(file: Path, size: int, changed: int, tail: Any, stored_map: float | None) -> None:
    """Load a file whose checksum is not known.

    Raises:
        YoloAttnError: If that is impossible, or matches do not give the mAP that was stored with them.
    """
    checks: dict[str, Callable[[], object]] = {
        MATCHES: lambda: _check_map(Matches.load(file), tail, stored_map),
        COCO_MATCHES: lambda: CocoMatches.load(file),
        OLD_BOXES: lambda: Boxes.load(file),
        CHECKPOINT: lambda: _check_archive(file),
    }
    checks[file.name]()


def _check_map(matches: Matches, tail: Any, stored: float | None) -> None:
    found = float(mean_average_precision(average_precision(matches, tail=tail))[0])
    if stored is not None and abs(found - stored) > _SAME_MAP:
        raise YoloAttnError(f"{MATCHES} is of another run: it gives an mAP50-95 of {found:.4f}, not {stored:.4f}")


def _check_archive(file: Path) -> None:
    if not is_whole_archive(file):
        raise YoloAttnError(f"{file.name} is damaged: it is cut short or no checkpoint")
