"""Store training runs: a spec that determines the result of a run, and the folder of the run.

The folder of a run holds ``spec.json``; ``train/`` while it is trained; ``log.txt``; and, once it is complete,
``matches.npz``, ``coco_matches.npz``, ``last.pt``, ``results.csv`` with metrics by epoch, ``gates.csv`` if the model
has gates, and ``result.json``, which is written last and holds checksums of the first three. A run that failed leaves
``failure.json``. :mod:`yolo_attn.compare.stored` checks what is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.gates import GATES
from yolo_attn.util.files import write_json

SPEC, RESULT, FAILURE, LOG = "spec.json", "result.json", "failure.json", "log.txt"
MATCHES, COCO_MATCHES, CHECKPOINT, TRAINING = "matches.npz", "coco_matches.npz", "last.pt", "train"
CURVES = "results.csv"
OLD_BOXES = "boxes.npz"
"""File of older comparisons in place of ``coco_matches.npz``."""
FILES = "files"
"""Key of the checksums in ``result.json``."""

_WHERE = ("data", "weights", "imports", "finished")


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines the result of a run.

    Attributes:
        arm: Name of the model, with its scale, e.g. ``yolo11n-ela``.
        model: The model YAML's content.
        data: Path of the data YAML.
        data_checksum: Checksum of the images' names and sizes and of the labels' contents.
        weights: Path of the pretrained checkpoint, or ``None``.
        weights_checksum: Checksum of that file, or ``None``.
        seed: Seed of initialisation, shuffling and augmentation.
        overrides: Training arguments of Ultralytics, including the comparison's defaults, without ``device``.
        versions: Versions of the packages that affect training.
        device: Kind of device, ``cpu`` or ``cuda``.
        threads: Threads on the CPU, where their number can change rounding; else ``None``.
        imports: A user's files, with blocks, that the run imports.
        imports_checksum: Checksum of their contents, or ``None``.
        finished: Checkpoint, or file of predictions, that is evaluated and not trained; ``None`` for a training.
        finished_checksum: Checksum of that file, or ``None``.
        images_checksum: Checksum of the images' contents; ``None`` for runs stored before it was recorded.
    """

    arm: str
    model: Mapping[str, Any]
    data: str
    data_checksum: str
    weights: str | None
    weights_checksum: str | None
    seed: int
    overrides: Mapping[str, Any]
    versions: Mapping[str, str]
    device: str = "cpu"
    threads: int | None = None
    imports: Sequence[str] = ()
    imports_checksum: str | None = None
    finished: str | None = None
    finished_checksum: str | None = None
    images_checksum: str | None = None

    @property
    def key(self) -> str:
        """Short checksum of the spec; paths of files do not count, their contents do."""
        decisive = {k: v for k, v in asdict(self).items() if k not in _WHERE}
        for late in ("imports_checksum", "finished_checksum", "images_checksum"):
            if decisive[late] is None:  # as in results that were stored before there was the field
                del decisive[late]
        decisive["model"] = {k: v for k, v in self.model.items() if k != "yaml_file"}
        return checksum(json.dumps(decisive, sort_keys=True).encode())[:10]

    @property
    def folder_name(self) -> str:
        """Name of the run's folder."""
        return f"{self.arm}-seed{self.seed}-{self.key}"

    @property
    def is_predictions(self) -> bool:
        """Whether there is no model, only its predictions."""
        return bool(self.finished) and str(self.finished).lower().endswith(".json")

    @property
    def protocol(self) -> dict[str, Any]:
        """Fields that must be equal in all runs of a comparison."""
        own = ("arm", "model", "seed", "finished_checksum", *_WHERE)
        return {k: v for k, v in asdict(self).items() if k not in own}


def arm_and_seed(folder_name: str) -> tuple[str, int]:
    """Return the arm and seed of a run from the name of its folder."""
    arm, _, seed = folder_name.rpartition("-")[0].rpartition("-seed")
    return arm, int(seed)


def checksum(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def prepare(spec: RunSpec, root: Path) -> Path:
    """Create the folder of a run if needed, write its spec, and return it; earlier results are kept."""
    folder = root / spec.folder_name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).unlink(missing_ok=True)
    write_json(folder / SPEC, asdict(spec))
    return folder


def read_spec(folder: Path) -> RunSpec:
    """Read the spec in a run's folder.

    Raises:
        YoloAttnError: If it is damaged, or that of another run.
    """
    try:
        spec = RunSpec(**json.loads((folder / SPEC).read_text(encoding="utf-8")))
        if spec.folder_name != folder.name:
            raise ValueError(f"it is that of {spec.folder_name}")
        return spec
    except (ValueError, TypeError, AttributeError) as error:
        raise YoloAttnError(
            f"'{folder / SPEC}' is damaged ({error}); the comparison's own command writes it again"
        ) from error


def write_failure(folder: Path, reason: str) -> None:
    """Store why a run, or the timing of models, failed."""
    with contextlib.suppress(OSError):  # e.g. a full disk, which may be why
        write_json(folder / FAILURE, {"reason": reason})


def read_failure(folder: Path) -> str | None:
    """Return why the last attempt at a run, or at timing models, failed, or ``None``."""
    reason: str | None = (_read(folder / FAILURE) or {}).get("reason")
    return reason


def finish(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the result of a run, which completes it, and delete the files needed to resume its training."""
    for kept in (GATES, CURVES):
        if (log := folder / TRAINING / kept).is_file():
            os.replace(log, folder / kept)
    stored = [folder / name for name in (MATCHES, COCO_MATCHES, CHECKPOINT)]
    checksums = {file.name: checksum(file.read_bytes()) for file in stored if file.is_file()}
    write_json(folder / RESULT, {**result, FILES: checksums})
    shutil.rmtree(folder / TRAINING, ignore_errors=True)


def check_comparable(specs: Mapping[str, RunSpec]) -> None:
    """Check that runs differ in model and seed only; contents of images that were not recorded are no difference.

    Raises:
        YoloAttnError: If they differ in anything else; the message names two runs and the difference.
    """
    known: dict[str, tuple[str, Any]] = {}
    for name, spec in specs.items():
        for what, value in spec.protocol.items():
            if value is None and what == "images_checksum":
                continue
            first, wanted = known.setdefault(what, (name, value))
            if value != wanted:
                raise YoloAttnError(
                    f"results of different {what} cannot be compared: {first} has {_short(wanted)}, {name} has "
                    f"{_short(value)}"
                )


def _short(value: Any) -> str:
    text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
    return text if len(text) < 200 else text[:197] + "..."


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
