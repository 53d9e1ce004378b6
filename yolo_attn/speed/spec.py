"""What a speed measurement is asked for, and what it left: the two files of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.util import jsonl
from yolo_attn.util.files import write_whole
from yolo_attn.util.jsonl import Record

SPEC, RAW = "speed_spec.json", "speed.jsonl"
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class SpeedSpec:
    """What to time, and how.

    Attributes:
        key: Says what is measured, e.g. a checksum of the runs behind the checkpoints.
        models: Checkpoint of each arm; a relative path starts at the spec's folder.
        baseline: The arm the others are compared with.
        imgsz: Side of the images, in pixels.
        device: Torch device, e.g. ``"cpu"`` or ``"cuda:0"``.
        batches: Images per forward pass, or ``"auto"``: 1, and 32 on CUDA or 8 elsewhere. A batch that does not fit
            into CUDA memory is halved until it does.
        precisions: Any of ``"fp32"`` and ``"fp16"``, or ``"auto"``: both. Half precision is measured on CUDA only.
        rounds: How often each arm is timed at most, per batch and precision.
        seconds: Time after which no more rounds begin, per batch and precision, once there are 20.
        seed: Seed of the order of the arms and of the images.
    """

    key: str
    models: Mapping[str, str]
    baseline: str
    imgsz: int
    device: str = "cpu"
    batches: list[int] | Literal["auto"] = "auto"
    precisions: list[str] | Literal["auto"] = "auto"
    rounds: int = 100
    seconds: float = 30.0
    seed: int = 0


def write_spec(folder: Path, spec: SpeedSpec) -> None:
    """Write what to measure into a folder."""
    write_whole(folder / SPEC, json.dumps(asdict(spec), indent=2) + "\n")


def read_spec(folder: Path) -> SpeedSpec:
    """Return what to measure.

    Raises:
        YoloAttnError: If the folder has no spec, or it is not right; nothing is measured then.
    """
    file = folder / SPEC
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise YoloAttnError(f"'{folder}' has nothing to measure: there is no {SPEC} in it") from error
    except json.JSONDecodeError as error:
        raise YoloAttnError(f"'{file}' is not JSON: {error}") from error
    try:
        spec = SpeedSpec(**content)
    except TypeError as error:
        allowed = ", ".join(f.name for f in fields(SpeedSpec))
        raise YoloAttnError(f"'{file}' is not a speed spec: {error}. Its keys are {allowed}") from error
    _check(spec, folder)
    return spec


def read_raw(folder: Path, key: str) -> list[Record] | None:
    """Return the records of a complete measurement, or ``None`` if it is missing, incomplete or of another spec.

    Args:
        folder: Folder of the measurement.
        key: Key of its spec.
    """
    records = jsonl.read_complete(folder / RAW)
    return records if records and records[0]["spec"]["key"] == key else None


def _check(spec: SpeedSpec, folder: Path) -> None:
    if spec.baseline not in spec.models:
        raise YoloAttnError(one_of("baseline", spec.baseline, spec.models))
    for arm, path in spec.models.items():
        if not (folder / path).is_file():
            raise YoloAttnError(f"no checkpoint of '{arm}' at '{folder / path}'")
    numbers = {
        "rounds": [spec.rounds],
        "imgsz": [spec.imgsz],
        "batches": [1] if spec.batches == "auto" else spec.batches,
    }
    for name, values in numbers.items():
        if not isinstance(values, list) or not all(type(value) is int and value > 0 for value in values):
            raise YoloAttnError(f"{name}={getattr(spec, name)!r}: whole numbers above 0 are meant")
    for precision in PRECISIONS if spec.precisions == "auto" else spec.precisions:
        if precision not in PRECISIONS:
            raise YoloAttnError(one_of("precision", precision, PRECISIONS))
