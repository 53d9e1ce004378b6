"""Find and write model YAMLs: by path, or by the bare name of a shipped one, with the scale in the name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SCALED = re.compile(r"^(?P<family>yolo(?:e-)?v?\d+)(?P<scale>[nslmx])(?P<rest>[^a-z].*)$")


def cfg_dir() -> Path:
    """Return the folder of the shipped YAMLs: inside the installed package, or next to it in a checkout."""
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
    """Write a model dict to ``model.yaml`` with its one scale, which then holds under any file name.

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
    """Find the file of a model name.

    Searched in this order: the path itself, the path without the scale letter in its file name, and, for a bare
    name, the shipped YAMLs. A scale is looked for in the file name only, not in folders such as ``2nd-try``.

    Args:
        path: ``yolo11n-ela.yaml``, ``runs/2nd-try/yolo11s-mine.yaml``, ...

    Returns:
        The file, or ``None`` for other names, e.g. those of stock models.
    """
    path = Path(path)
    for candidate in (path, path.with_name(unscaled(path.name))):
        if candidate.is_file():
            return candidate
    if path.parent == Path("."):
        shipped = shipped_models()
        return shipped.get(path.name) or shipped.get(unscaled(path.name))
    return None
