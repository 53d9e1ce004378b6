"""One training run as a value: a spec that names everything that decides its result, and the folder that holds it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolo_attn.files import write_whole

SPEC, RESULT, LOG = "spec.json", "result.json", "log.txt"


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides what a run gives.

    Attributes:
        arm: Name of the model, with its scale, e.g. ``yolo11n-ela``.
        model: The model YAML's content.
        data: Path of the data YAML.
        data_checksum: Checksum of the images' names and the labels' contents.
        weights: Path of the pretrained checkpoint, or ``None``.
        weights_checksum: Checksum of that file, or ``None``.
        seed: Seed of initialisation, shuffling and augmentation.
        overrides: Ultralytics' training arguments, defaults of the comparison included.
        versions: Versions of the packages that train.
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

    @property
    def key(self) -> str:
        """A short checksum of the spec; where files lie does not count, what is in them does."""
        decisive = {k: v for k, v in asdict(self).items() if k not in ("data", "weights")}
        decisive["model"] = {k: v for k, v in self.model.items() if k != "yaml_file"}
        return checksum(json.dumps(decisive, sort_keys=True).encode())[:10]

    @property
    def folder_name(self) -> str:
        """Name of the run's folder."""
        return f"{self.arm}-seed{self.seed}-{self.key}"


def checksum(content: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def start(spec: RunSpec, root: Path) -> Path:
    """Make an empty folder for a run, dropping what an earlier, unfinished try left, and return it."""
    folder = root / spec.folder_name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_json(folder / SPEC, asdict(spec))
    return folder


def read_spec(folder: Path) -> RunSpec:
    """Return the spec stored in a run's folder."""
    return RunSpec(**json.loads((folder / SPEC).read_text(encoding="utf-8")))


def read_result(spec: RunSpec, root: Path) -> dict[str, Any] | None:
    """Return a run's stored result, or ``None`` where it is not complete."""
    folder = root / spec.folder_name
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return result if result.get("key") == spec.key else None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, json.dumps(content, indent=2) + "\n")
