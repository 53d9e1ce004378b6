"""Predict images with one or two models, draw their gates, and write pictures, statistics and one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.gates.statistics import DEAD, SATURATED
from yolo_attn.report.document import STYLE
from yolo_attn.report.formatting import listing, plural
from yolo_attn.report.html import page
from yolo_attn.report.parts import Block, Gallery, Heading, Image, Paragraph, Report, Section, Table
from yolo_attn.show import numbers
from yolo_attn.show.cam import layer_cam
from yolo_attn.show.detections import detections
from yolo_attn.show.look import GateWatcher, Prediction, read_image
from yolo_attn.show.pictures import MOST_OUTLINES, DrawOptions, View, section
from yolo_attn.util.files import write_all

PAGE, NUMBERS = "show.html", "show.json"


def show(
    models: Sequence[str],
    images: Sequence[Path],
    out: Path,
    options: DrawOptions | None = None,
    rows: Sequence[int] = (),
    cam: bool = True,
    log: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> dict[str, Any]:
    """Draw the gates of models for images; write all files or none.

    Args:
        models: One or two checkpoints or model YAMLs.
        images: Image files.
        out: Folder to write ``show.html``, ``show.json`` and a folder of pictures for each image into.
        options: Channels and colour range to draw.
        rows: The rows whose blocks are drawn; all by default.
        cam: Whether class activation maps are drawn.
        log: Called with each line of progress.
        **settings: Arguments of ``ultralytics.YOLO.predict``: ``imgsz``, ``conf``, ``device``.

    Returns:
        Content of ``show.json``: the statistics of all gates.

    Raises:
        YoloAttnError: If a model or an image cannot be used, or a row or channel does not exist.
    """
    options = options or DrawOptions()
    pictures = [read_image(path) for path in images]
    watchers = [GateWatcher(model) for model in models]
    names = _names(models)
    _check_rows(watchers, names, rows)
    records = [_record(model, name) for model, name in zip(watchers, names, strict=True)]
    sections = []
    for path, key, picture in zip(images, _keys(images), pictures, strict=True):
        views = []
        for k, model in enumerate(watchers):
            view = _view(model, names[k], "ab"[k] + "-" if len(watchers) > 1 else "", picture, rows, cam, settings)
            records[k]["images"].append(_image_record(path, view))
            views.append(view)
        _check_channels(views, options)
        sections.append(section(path.name, key, views, options))
        log(f"{path}: {plural(len(_images(sections[-1])), 'picture')}")
    found = {"models": records, "thresholds": {"dead": DEAD, "saturated": SATURATED}, "page": str(out / PAGE)}
    write_all(out, _files(found, sections), stale=_stale(out))
    return found


def describe_attention(record: dict[str, Any]) -> str:
    """Return a sentence on the attention blocks of a model, from its record."""
    if not record["attention"]:
        return f"{record['model']} has no attention block: there are no gates, only its class activation map is drawn."
    return f"{record['model']}: {plural(record['attention'], 'attention block')}."


def _view(
    model: GateWatcher, name: str, prefix: str, picture: Any, rows: Sequence[int], cam: bool, settings: dict[str, Any]
) -> View:
    predicted = model.predict(picture, **settings)
    blocks = [block for block in predicted.blocks if not rows or block.location.row in rows]
    return View(name, prefix, predicted, _explain(model, predicted) if cam else None, blocks)


def _explain(model: GateWatcher, predicted: Prediction) -> tuple[Any, str]:
    found = detections(predicted.result)
    shown = found[:1] if model.task == "classify" else found[:MOST_OUTLINES]
    model.unwatched.to(predicted.tensor)
    values = layer_cam(model.unwatched, predicted.tensor, [(d.label, d.confidence) for d in shown])
    if model.task == "classify":
        return values, f"the class {shown[0].name}"
    if not shown:
        return values, "nothing was detected, so the most likely prediction is explained"
    return values, "all detections" if len(shown) == len(
        found
    ) else f"{len(shown)} strongest of {len(found)} detections"


# --- arguments --------------------------------------------------------------------------------------------------------
def _check_rows(models: Sequence[GateWatcher], names: Sequence[str], rows: Sequence[int]) -> None:
    held = sorted({at.row for model in models for at in model.locations.values()})
    if missing := [row for row in rows if row not in held]:
        there = f"attention is in rows {', '.join(map(str, held))}" if held else "the model has no attention"
        raise YoloAttnError(f"--rows: row {missing[0]} of {listing(list(names))} holds no attention; {there}")


def _check_channels(views: Iterable[View], options: DrawOptions) -> None:
    most = max((block.channels for view in views for block in view.blocks), default=0)
    if most and (beyond := [c for c in options.channels if c >= most]):
        raise YoloAttnError(f"--channels: no block has a channel {beyond[0]}; the widest has 0 to {most - 1}")


def _names(models: Sequence[str]) -> list[str]:
    """Return short names of models, or the given ones where the short names are equal."""
    short = [Path(model).name for model in models]
    return short if len(set(short)) == len(short) else list(models)


def _keys(images: Sequence[Path]) -> list[str]:
    """Return a name for each image's folder: the file's stem, numbered where two are equal."""
    keys: list[str] = []
    for path in images:
        stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in path.stem)
        same = sum(key == stem or key.startswith(f"{stem}-copy") for key in keys)
        keys.append(f"{stem}-copy{same + 1}" if same else stem)
    return keys


# --- records and files ------------------------------------------------------------------------------------------------
def _record(model: GateWatcher, name: str) -> dict[str, Any]:
    return {
        "model": name,
        "source": model.source,
        "task": model.task,
        "seed": model.seed,
        "attention": len(model.locations),
        "images": [],
    }


def _image_record(path: Path, view: View) -> dict[str, Any]:
    height, width = view.predicted.image.shape[:2]
    return {
        "image": str(path),
        "width": width,
        "height": height,
        "input": list(view.predicted.placement.input_size),
        "detections": [d.as_dict() for d in view.detections],
        "blocks": [numbers.block_record(block) for block in view.blocks],
    }


def _images(section: Section) -> list[Image]:
    galleries = [block for block in section.blocks if isinstance(block, Gallery)]
    return [image for gallery in galleries for column in gallery.columns for image in column]


def _files(found: dict[str, Any], sections: Sequence[Section]) -> dict[str, bytes]:
    drawn = {image.name: image.png for section in sections for image in _images(section)}
    html = page(_report(found["models"], sections), styles=(STYLE, Path(__file__).with_name("show.css")))
    listed = json.dumps({**found, "files": sorted(drawn)}, indent=2) + "\n"
    return {**drawn, PAGE: html.encode(), NUMBERS: listed.encode()}


def _report(models: Sequence[dict[str, Any]], sections: Sequence[Section]) -> Report:
    title = "What " + " and ".join(m["model"] for m in models) + (" attends to" if len(models) == 1 else " attend to")
    sizes = dict.fromkeys("x".join(map(str, image["input"][::-1])) for m in models for image in m["images"])
    subtitle = f"{models[0]['task']}; {plural(len(sections), 'image')}; input {listing(list(sizes))} pixels. "
    tables: list[Block] = [Paragraph(numbers.HOW_TO_READ)]
    for model in models:
        if rows := numbers.overview(model):
            tables.append(Table(model["model"], numbers.HEAD, rows, words=frozenset({1, 2}), headed=True))
        else:
            tables += [Heading(model["model"]), Paragraph(describe_attention(model))]
    words = " ".join(map(describe_attention, models))
    return Report(title, subtitle + words, [*sections, Section("gates", "All gates", tables)], contents=True)


def _stale(out: Path) -> list[str]:
    """Return the files of an earlier page in the same folder."""
    try:
        return [str(name) for name in json.loads((out / NUMBERS).read_text(encoding="utf-8"))["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
