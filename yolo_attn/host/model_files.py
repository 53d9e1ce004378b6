"""List the shipped model YAMLs, take the scale out of a name, and write a model YAML."""

from __future__ import annotations

import importlib.util
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


def host_model_files() -> list[Path]:
    """Return the installed Ultralytics' own model YAMLs."""
    found: Any = importlib.util.find_spec("ultralytics")
    return sorted(Path(found.submodule_search_locations[0], "cfg", "models").rglob("*.yaml"))


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
