"""Describe a speed measurement: ``speed_spec.json`` in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.util.files import write_json

SPEC = "speed_spec.json"

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")


@dataclass(frozen=True)
class SpeedSpec:
    """Models to time, and how.

    Attributes:
        key: Identifies the measurement, e.g. a checksum of the runs behind the checkpoints.
        models: Checkpoint of each arm; a relative path is relative to the folder of the spec.
        baseline: Arm that the others are compared with.
        imgsz: Side of the images, in pixels.
        device: Torch device, e.g. ``"cpu"`` or ``"cuda:0"``.
        batches: Batch sizes, or ``"auto"``: 1, and 32 on CUDA or 8 elsewhere. A batch that does not fit into CUDA
            memory is halved until it does.
        precisions: Any of ``"fp32"`` and ``"fp16"``, or ``"auto"``: both. Half precision is measured on CUDA only.
        rounds: Most rounds per batch size and precision; each round times every arm once.
        seconds: Time limit in seconds per batch size and precision; at least 20 rounds are made.
        seed: Seed of the order of the arms and of the images.
    """

    key: str
    models: Mapping[str, str]
    baseline: str
    imgsz: int
    device: str = "cpu"
    batches: list[int] | Literal["auto"] = "auto"
    precisions: list[Precision] | Literal["auto"] = "auto"
    rounds: int = 100
    seconds: float = 30.0
    seed: int = 0


def write_spec(folder: Path, spec: SpeedSpec) -> None:
    """Write a spec into the folder of its measurement."""
    write_json(folder / SPEC, asdict(spec))


def read_spec(folder: Path) -> SpeedSpec:
    """Read and check the spec in the folder of a measurement.

    Raises:
        YoloAttnError: If the spec is missing or invalid, or a checkpoint is missing.
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
            raise YoloAttnError(f"{name}={getattr(spec, name)!r}: give positive integers")
    for precision in PRECISIONS if spec.precisions == "auto" else spec.precisions:
        if precision not in PRECISIONS:
            raise YoloAttnError(one_of("precision", precision, PRECISIONS))
