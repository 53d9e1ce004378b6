"""Find model YAMLs by name: a path, or the bare name of one that ships with the package, with the scale in the name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SCALED = re.compile(r"^(?P<family>yolo(?:e-)?v?\d+)(?P<scale>[nslmx])(?P<rest>[^a-z].*)$")


def cfg_dir() -> Path:
    """Return the folder of the shipped YAMLs: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "cfg" if (package / "cfg").is_dir() else package.parent / "cfg"


def shipped_models() -> dict[str, Path]:
    """Return every shipped model YAML by file name, e.g. ``yolo11-ela.yaml``."""
    return {p.name: p for p in sorted((cfg_dir() / "models").glob("*.yaml"))}


def unscaled(name: str) -> str:
    """Drop the scale letter from a model's file name: ``yolo11n-ela.yaml`` -> ``yolo11-ela.yaml``."""
    found = _SCALED.match(name)
    return found["family"] + found["rest"] if found else name


def write_model(model: Mapping[str, Any], folder: Path) -> Path:
    """Write a model dict of one scale to ``model.yaml``, so that it means that scale under any name.

    Args:
        model: A model YAML's content with its ``scale``, as Ultralytics reads it.
        folder: Where to write.
    """
    import yaml

    content = {k: v for k, v in model.items() if k not in ("scale", "yaml_file")}
    if (scale := model.get("scale")) and scale in content.get("scales", {}):
        content["scales"] = {scale: content["scales"][scale]}
    file = folder / "model.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def find_model_yaml(path: str | Path) -> Path | None:
    """Find the file that a model name stands for.

    Looked for are, in this order: the path itself, the path without the scale letter in its file name, and, for a bare
    name, the shipped YAMLs. Only the file name is searched for a scale, so a folder such as ``2nd-try`` is safe.

    Args:
        path: ``yolo11n-ela.yaml``, ``runs/2nd-try/yolo11s-mine.yaml``, ...

    Returns:
        The file, or ``None`` where this name is not ours to resolve (e.g. a stock model's).
    """
    path = Path(path)
    for candidate in (path, path.with_name(unscaled(path.name))):
        if candidate.is_file():
            return candidate
    if path.parent == Path("."):
        shipped = shipped_models()
        return shipped.get(path.name) or shipped.get(unscaled(path.name))
    return None
