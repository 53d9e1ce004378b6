"""Read COCO predictions, as Ultralytics' ``save_json`` and others write them, and match them with the labels.

The file is a list of ``{"image_id": ..., "category_id": ..., "bbox": [left, top, width, height], "score": ...}``. An
image is found by the name of its file, with or without ending, or by that as a number, as in COCO.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_attn.compare import host
from yolo_attn.errors import YoloAttnError, listed
from yolo_attn.evaluate.ap import average_precision, mean_average_precision
from yolo_attn.evaluate.coco_ap import Boxes
from yolo_attn.evaluate.matches import Matches
from yolo_attn.host.data import Labelled

READINGS = ("zero", "one", "coco91")
"""Ways to count category ids: from 0, from 1, or as COCO's 80 classes by numbers up to 90."""
LEAST_SCORE, MOST_DETECTIONS = 0.001, 300
"""Defaults of Ultralytics' validation: least score, and most detections of an image."""
_HIT = 0.5
_SAID = {"zero": "0 to {last}", "one": "1 to {count}", "coco91": "COCO's, up to 90"}


@dataclass(frozen=True)
class Predictions:
    """Predictions matched with the labels, and what was found in their file."""

    evaluated: host.Evaluated
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Detections:
    """Detections of a file: image index ``(D,)``, category ids ``(D,)``, scores ``(D,)``, corners ``(D, 4)``."""

    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    boxes: np.ndarray

    def chosen(self, which: np.ndarray) -> _Detections:
        return _Detections(self.image[which], self.category[which], self.score[which], self.boxes[which])


def read_predictions(file: Path, images: Sequence[Labelled], classes: int, settings: Mapping[str, Any]) -> Predictions:
    """Read a file of predictions and match them with labels, as the installed Ultralytics matches its detections.

    Args:
        file: The file.
        images: Images and labels of the validation set, sorted by name.
        classes: Number of classes of the data.
        settings: Arguments of validation: ``conf``, ``max_det``, ``classes``, ``single_cls``, and ``category_ids``.

    Raises:
        YoloAttnError: If the file is damaged, has images that are not in the set, or its category ids cannot be read.
    """
    held = _read(file, images)
    reading, why = _reading(file, held, images, classes, settings.get("category_ids"))
    numbers = {category: cls for cls, category in enumerate(_categories(reading, classes))}
    cls = np.array([numbers[int(category)] for category in held.category], np.int64)
    facts = {
        "category_ids": _SAID[reading].format(last=classes - 1, count=classes),
        "why": why,
        "detections": len(held.score),
        "lowest_score": float(held.score.min()) if len(held.score) else None,
        "images": len(images),
        "images_without": len(images) - len(np.unique(held.image)),
    }
    kept = _kept(held, cls, settings)
    cls = np.zeros_like(cls) if settings.get("single_cls") else cls
    return Predictions(_evaluated(held.chosen(kept), cls[kept], images), facts)


# --- the file ---------------------------------------------------------------------------------------------------------
def _read(file: Path, images: Sequence[Labelled]) -> _Detections:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise YoloAttnError(f"'{file}' is not JSON: {error}") from error
    if not isinstance(content, list):
        what = f"an object with {listed(content)}" if isinstance(content, dict) else type(content).__name__
        raise YoloAttnError(f"'{file}' is {what}; predictions are a list of image_id, category_id, bbox and score")
    rows = [_row(file, number, entry) for number, entry in enumerate(content)]
    index = _index(images)
    unknown = {str(row[0]) for row in rows if row[0] not in index}
    if unknown:
        raise YoloAttnError(
            f"'{file}': {len(unknown)} of {len({row[0] for row in rows})} image ids are not of this validation set of "
            f"{len(images)} images: {listed(sorted(unknown))}; images here are {listed([i.name for i in images])}"
        )
    boxes = np.array([row[2] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return _Detections(
        np.array([index[row[0]] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
        boxes.astype(np.float32),
    )


def _row(file: Path, number: int, entry: Any) -> tuple[str | int, int, list[float], float]:
    try:
        image, category, box, score = (entry[key] for key in ("image_id", "category_id", "bbox", "score"))
    except (TypeError, KeyError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else "is no object"
        raise YoloAttnError(
            f"'{file}', entry {number}: {what}; predictions have image_id, category_id, bbox and score"
        ) from error
    is_box = isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)
    if not is_box or not np.isfinite(box).all() or min(box[2:]) < 0:
        raise YoloAttnError(f"'{file}', entry {number}: bbox {box} is not left, top, width, height in pixels")
    if not isinstance(score, int | float) or not np.isfinite(score):
        raise YoloAttnError(f"'{file}', entry {number}: score {score!r} is not a number")
    if type(category) is not int or not isinstance(image, int | str):
        raise YoloAttnError(
            f"'{file}', entry {number}: category_id {category!r} has to be a whole number, image_id {image!r} a "
            f"number or text"
        )
    return _image_id(image), category, box, float(score)


def _image_id(image: str | int) -> str | int:
    """Return an image's number, or its file's name as it is."""
    name = image if isinstance(image, int) else Path(image).name
    return int(name) if isinstance(name, str) and name.isdecimal() else name


def _index(images: Sequence[Labelled]) -> dict[str | int, int]:
    """Return the index of each image by every id it may have; an id of two images is left out."""
    found: dict[str | int, int] = {}
    twice: set[str | int] = set()
    for i, image in enumerate(images):
        for key in {_image_id(image.name), _image_id(Path(image.name).stem)}:
            twice.update({key} & set(found))
            found[key] = i
    return {key: i for key, i in found.items() if key not in twice}


# --- classes ----------------------------------------------------------------------------------------------------------
def _categories(reading: str, classes: int) -> list[int]:
    """Return the category id of each class."""
    if reading == "coco91":
        return host.coco_ids() if classes == len(host.coco_ids()) else []
    return list(range(classes)) if reading == "zero" else list(range(1, classes + 1))


def _reading(
    file: Path, held: _Detections, images: Sequence[Labelled], classes: int, given: str | None
) -> tuple[str, str]:
    """Return how the category ids are counted, and how that is known."""
    ids = set(held.category.tolist())
    possible = [reading for reading in READINGS if ids <= set(_categories(reading, classes))]
    span = f"{min(ids)} to {max(ids)}" if ids else "none"
    if given is not None and given not in possible:
        raise YoloAttnError(f"'{file}': category ids {span} cannot be {given} with {classes} classes")
    if given is not None:
        return given, "as given"
    if not possible:
        raise YoloAttnError(
            f"'{file}': category ids {span} are neither 0 to {classes - 1}, nor 1 to {classes}, nor those of COCO's 80 "
            f"classes; the data has {classes} classes"
        )
    if len(possible) == 1 or not ids:
        return possible[0], f"the ids are {span}"
    hits = _hits(held, images, possible, classes)
    best, second = sorted(hits.values(), reverse=True)[:2]
    if best == second:
        raise YoloAttnError(
            f"'{file}': category ids {span} may be counted in several ways, and the labels do not tell which; say "
            f"category_ids={' or '.join(possible)}"
        )
    reading = max(hits, key=lambda name: hits[name])
    return reading, f"so {best} boxes lie on a label of their class, otherwise at most {second}"


def _hits(held: _Detections, images: Sequence[Labelled], possible: Sequence[str], classes: int) -> dict[str, int]:
    """Return how many detections lie on a label of their class, by reading."""
    of_target = {reading: np.array(_categories(reading, classes)) for reading in possible}
    hits = dict.fromkeys(possible, 0)
    for own, image in _by_image(held, images):
        if len(own) and len(image.cls):
            on = host.box_overlap(image.boxes, held.boxes[own]).numpy() >= _HIT  # (G, D)
            for reading, ids in of_target.items():
                hits[reading] += int((on & (ids[image.cls][:, None] == held.category[own])).any(0).sum())
    return hits


# --- matching ---------------------------------------------------------------------------------------------------------
def _kept(held: _Detections, cls: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Return which detections count: by score, class and number, as in a validation; by image and falling score."""
    least = LEAST_SCORE if settings.get("conf") is None else settings["conf"]
    most = settings.get("max_det") or MOST_DETECTIONS
    counts: np.ndarray = held.score > least
    if settings.get("classes") is not None:
        counts = counts & np.isin(cls, settings["classes"])
    order = np.lexsort((-held.score, held.image))
    order = order[counts[order]]
    image = held.image[order]
    place = np.arange(len(order)) - np.searchsorted(image, image)
    kept: np.ndarray = order[place < most]
    return kept


def _by_image(held: _Detections, images: Sequence[Labelled]) -> Iterator[tuple[np.ndarray, Labelled]]:
    order = np.argsort(held.image, kind="stable")
    ends = np.searchsorted(held.image[order], np.arange(len(images) + 1))
    for i, image in enumerate(images):
        yield order[ends[i] : ends[i + 1]], image


def _evaluated(held: _Detections, cls: np.ndarray, images: Sequence[Labelled]) -> host.Evaluated:
    correct = np.zeros((len(cls), 10), bool)
    target = np.full((len(cls), 10), -1)
    first = np.cumsum([0, *(len(image.cls) for image in images)])
    for (own, image), start in zip(_by_image(held, images), first, strict=False):
        correct[own], found = host.match_boxes(held.boxes[own], cls[own], image.boxes, image.cls)
        target[own] = np.where(found < 0, -1, found + start)
    target_boxes = np.concatenate([image.boxes for image in images]).astype(np.float32).reshape(-1, 4)
    common: dict[str, Any] = {
        "images": len(images),
        "names": tuple(image.name for image in images),
        "image": held.image,
        "cls": cls,
        "confidence": held.score.astype(np.float32),
        "target_image": np.repeat(np.arange(len(images)), [len(image.cls) for image in images]),
        "target_cls": np.concatenate([image.cls for image in images]),
    }
    matches = Matches(
        **common, correct=correct, target=target, area=_areas(held.boxes), target_area=_areas(target_boxes)
    )
    ap = average_precision(matches, tail=host.ap_tail())
    metrics = {"mAP50": mean_average_precision(ap[:, :, [0]]), "mAP50-95": mean_average_precision(ap)}
    boxes = Boxes(**common, boxes=held.boxes, target_boxes=target_boxes)
    return host.Evaluated({name: float(value[0]) for name, value in metrics.items()}, matches, boxes)


def _areas(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).astype(float).prod(1)
    return area
