"""Command line of ``yolo-attn show``. Imports no torch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.util.words import log_to_stderr, refuse

OUTPUT = "runs/show"
IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MOST_IMAGES = 50


def add_flags(show: argparse.ArgumentParser) -> None:
    """Add the flags of ``yolo-attn show`` to its parser."""
    show.add_argument("model", help="checkpoint, e.g. best.pt (or a model YAML: random weights)")
    show.add_argument("images", nargs="+", type=Path, metavar="image", help="image files, or folders of them")
    show.add_argument("--beside", metavar="MODEL", help="second model, drawn next to the first on the same images")
    show.add_argument("-o", "--output", default=OUTPUT, type=Path, help="folder for the page (default: %(default)s)")
    show.add_argument("--rows", help="draw only the blocks of these rows, e.g. 17,21")
    show.add_argument("--channels", help="draw these channels one by one, e.g. 0,5 (default: those that vary most)")
    show.add_argument("--full-range", action="store_true", help="let colours span the gate's whole range")
    show.add_argument("--no-cam", action="store_true", help="draw no class activation map")
    show.add_argument("--imgsz", type=int, help="side of the model's input (default: as it was trained)")
    show.add_argument("--conf", type=float, help="least confidence of a detection (default: 0.25)")
    show.add_argument("--device", help="cpu | 0 (default: Ultralytics' choice)")
    show.add_argument("--json", action="store_true", help="print the statistics as JSON instead of a table")


def run(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Write the page; return the table of gates and the page's path, or all statistics as JSON, and the exit code."""
    refuse(trailing)
    images = find_images(arguments.images)
    models = [model for model in (arguments.model, arguments.beside) if model]
    for model in models:
        _check_model(model)
    rows, channels = (_integers(flag, getattr(arguments, flag)) for flag in ("rows", "channels"))
    settings = _settings(arguments)
    from yolo_attn.show.gallery import show
    from yolo_attn.show.pictures import DrawOptions

    found = show(
        models,
        images,
        arguments.output,
        DrawOptions(channels, arguments.full_range),
        rows=rows,
        cam=not arguments.no_cam,
        log=log_to_stderr("show"),
        **settings,
    )
    return (json.dumps(found) if arguments.json else _as_text(found)), 0


def find_images(given: list[Path]) -> list[Path]:
    """Return the image files given as files and folders.

    Raises:
        YoloAttnError: If one is missing, a folder holds none, or they are more than ``MOST_IMAGES``.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_ENDINGS)
            if not inside:
                raise YoloAttnError(f"folder '{path}' holds no image ({', '.join(IMAGE_ENDINGS)})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise YoloAttnError(f"no image at '{path}'")
    if len(found) > MOST_IMAGES:
        raise YoloAttnError(f"{len(found)} images are too many to look at; give at most {MOST_IMAGES}")
    return found


def _check_model(model: str) -> None:
    """Raise for paths that are no model, before torch is imported, which takes seconds."""
    ending = Path(model).suffix.lower()
    if ending not in (".pt", ".yaml", ".yml"):
        raise YoloAttnError(f"'{model}' is neither a .pt checkpoint nor a model .yaml")
    if ending == ".pt" and len(Path(model).parts) > 1 and not Path(model).is_file():
        raise YoloAttnError(f"no model at '{model}'")


def _integers(flag: str, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() for word in words):
        raise YoloAttnError(f"--{flag} {text}: give whole numbers with commas, e.g. 17,21")
    return tuple(map(int, words))


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.conf is not None and not 0 <= arguments.conf <= 1:
        raise YoloAttnError(f"--conf {arguments.conf}: give a number from 0 to 1")
    if arguments.imgsz is not None and arguments.imgsz < 32:
        raise YoloAttnError(f"--imgsz {arguments.imgsz}: give at least 32")
    return {name: v for name in ("imgsz", "conf", "device") if (v := getattr(arguments, name)) is not None}


def _as_text(found: dict[str, Any]) -> str:
    from yolo_attn.show.gallery import describe_attention
    from yolo_attn.show.numbers import HEAD, overview
    from yolo_attn.util.markdown import table

    parts = []
    for model in found["models"]:
        parts += [describe_attention(model), ""]
        if rows := overview(model):
            parts += [*table(HEAD, rows), ""]
    return "\n".join([*parts, f"The pictures: {found['page']}"])
