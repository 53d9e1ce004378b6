"""Read a COCO detection file of any size: one entry at a time, so that its polygons never fill the memory."""

from __future__ import annotations

import itertools
import json
import re
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np

from yolo_attn.errors import YoloAttnError, shorten
from yolo_attn.subset.labelled_images import CROWD, DUPLICATE, LabelledImages, corners_to_labels, find_duplicates
from yolo_attn.util.files import stays_inside

LISTS = ("images", "annotations", "categories")
_scan = json.JSONDecoder().scan_once
_space = re.compile(r"[ \t\n\r]*").match
_polygons = re.compile(r'"segmentation"\s*:\s*\[[\[\]0-9\s.,eE+-]*\]', re.ASCII)  # nothing inside a string looks so


def read_coco(path: Path, folders: tuple[Path, ...]) -> LabelledImages:
    """Read images, boxes and classes of a COCO detection file.

    Crowd regions, boxes outside their image, boxes without area and exact duplicates are marked as left out. Classes
    are numbered in the order of the category ids.

    Args:
        path: The JSON file.
        folders: Where its images may lie.

    Raises:
        YoloAttnError: It cannot be read, is cut short or malformed, or an annotation names an image or a category
            that is not there.
    """
    images, boxes, categories = _Images(path), _Boxes(path), {}

    def add_category(entry: dict) -> None:
        try:
            categories[int(entry["id"])] = str(entry["name"])
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(path, "categories", entry, error) from error

    found = _walk(path, {"images": images.add, "annotations": boxes.add, "categories": add_category})
    for key in LISTS:
        if key not in found:
            raise YoloAttnError(f"{path} is not a COCO detection file: it has no list of objects {key!r}.")
    if not categories:
        raise YoloAttnError(f"{path} names no categories.")
    if not images.ids:
        raise YoloAttnError(f"{path} lists no images.")
    return _assemble(path, folders, images, boxes, dict(sorted(categories.items())))


class _Images:
    def __init__(self, path: Path):
        self.path = path
        self.ids: list[int | str] = []
        self.file_names: list[str] = []
        self.widths, self.heights = array("d"), array("d")

    def add(self, entry: dict) -> None:
        try:
            number, name = entry["id"], str(entry["file_name"]).replace("\\", "/")
            if isinstance(number, bool) or not isinstance(number, (int, float, str)):
                raise ValueError("id must be a number or text")
            if not stays_inside(name):
                raise ValueError("file_name must stay inside the folder of the images")
            width, height = float(entry["width"]), float(entry["height"])
            if not (width > 0 and height > 0):
                raise ValueError("width and height must be above 0")
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(self.path, "images", entry, error) from error
        self.ids.append(number)
        self.file_names.append(name)
        self.widths.append(width)
        self.heights.append(height)


class _Boxes:
    def __init__(self, path: Path):
        self.path = path
        self.image_ids: list[int | str] = []
        self.category_ids: list[int] = []
        self.boxes, self.areas, self.crowds = array("d"), array("d"), array("b")

    def add(self, entry: dict) -> None:
        try:
            x, y, width, height = entry["bbox"]
            box = (float(x), float(y), float(width), float(height))
            area = entry.get("area")
            area = box[2] * box[3] if area is None else float(area)
            self.image_ids.append(entry["image_id"])
            self.category_ids.append(entry["category_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(self.path, "annotations", entry, error) from error
        self.boxes.extend(box)
        self.areas.append(area)
        self.crowds.append(bool(entry.get("iscrowd")))


def _assemble(
    path: Path, folders: tuple[Path, ...], images: _Images, boxes: _Boxes, categories: dict[int, str]
) -> LabelledImages:
    order = _ascending(path, images.ids)
    rank = {images.ids[i]: k for k, i in enumerate(order)}
    index = {category: k for k, category in enumerate(categories)}
    image = _positions(path, "image_id", boxes.image_ids, rank)
    category = _positions(path, "category_id", boxes.category_ids, index)
    by_image = np.argsort(image, kind="stable")
    image, category = image[by_image], category[by_image]
    x, y, w, h = np.frombuffer(boxes.boxes, float).reshape(-1, 4)[by_image].T
    widths, heights = np.frombuffer(images.widths)[order][image], np.frombuffer(images.heights)[order][image]
    with np.errstate(invalid="ignore"):
        box, fate = corners_to_labels(np.stack([x, y, x + w, y + h]), widths, heights)
    fate[np.frombuffer(boxes.crowds, np.int8)[by_image] != 0] = CROWD
    fate[find_duplicates(image, category, box, fate == 0)] = DUPLICATE
    return LabelledImages(
        origin=path.name,
        class_names=tuple(categories.values()),
        ids=[images.ids[i] for i in order],
        file_names=[images.file_names[i] for i in order],
        folders=folders,
        image=image,
        category=category,
        box=box,
        area=np.frombuffer(boxes.areas)[by_image],
        fate=fate,
    )


def _ascending(path: Path, ids: list) -> list[int]:
    try:
        order = sorted(range(len(ids)), key=ids.__getitem__)
    except TypeError as error:
        raise YoloAttnError(f"{path} has image ids of several types: {error}.") from error
    for one, other in itertools.pairwise(order):
        if ids[one] == ids[other]:
            raise YoloAttnError(f"{path} has two images with the id {ids[one]!r}.")
    return order


def _positions(path: Path, key: str, values: list, known: dict) -> np.ndarray:
    try:
        return np.array([known[value] for value in values], np.int64)
    except (KeyError, TypeError):
        dangling = [value for value in values if not isinstance(value, (int, str)) or value not in known]
        raise YoloAttnError(
            f"{path}: {len(dangling)} of {len(values)} annotations name an unknown {key}, the first being "
            f"{dangling[0]!r}."
        ) from None


def _malformed(path: Path, what: str, entry: object, error: Exception) -> YoloAttnError:
    """Return the error that quotes an entry which cannot be used."""
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return YoloAttnError(f"{path} has a malformed entry in {what!r} ({reason}): {shorten(entry)}.")


# --- JSON, an entry at a time -----------------------------------------------------------------------------------------
def _walk(path: Path, consumers: dict[str, Callable[[dict], None]]) -> set[str]:
    """Give the entries of the named top-level lists to their consumers; return the names that were found."""
    try:
        return _walk_object(_polygons.sub('"segmentation":0', path.read_text(encoding="utf-8")), consumers)
    except OSError as error:
        raise YoloAttnError(f"cannot read {path}: {error.strerror or error}.") from error
    except (_WrongShapeError, RecursionError) as error:
        raise YoloAttnError(f"{path} is not a COCO detection file: {error}.") from error
    except UnicodeDecodeError as error:
        raise YoloAttnError(f"{path} is not valid JSON: it is not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        where = f"near {shorten(error.doc[error.pos :][:40])}" if error.doc[error.pos :].strip() else "at its end"
        raise YoloAttnError(f"{path} is not valid JSON, perhaps cut short: {error.msg} {where}.") from error


class _WrongShapeError(Exception):
    pass


def _walk_object(text: str, consumers: dict[str, Callable[[dict], None]]) -> set[str]:
    found = set()
    at = _space(text, 0).end()
    if text[at : at + 1] != "{":
        raise _WrongShapeError(f"it holds a {type(_value(text, at)[0]).__name__}, not an object")
    at = _space(text, at + 1).end()
    while text[at : at + 1] != "}":
        key, at = _value(text, at)
        at = _after(text, at, ":")
        if key in consumers:
            at = _walk_list(text, at, key, consumers[key])
            found.add(key)
        else:
            at = _value(text, at)[1]
        at = _after_item(text, at, "}")
    return found


def _walk_list(text: str, at: int, key: str, consume: Callable[[dict], None]) -> int:
    if text[at : at + 1] != "[":
        raise _WrongShapeError(f"it has no list of objects {key!r}")
    at = _space(text, at + 1).end()
    while text[at : at + 1] != "]":
        entry, at = _value(text, at)
        if not isinstance(entry, dict):
            raise _WrongShapeError(f"it has no list of objects {key!r}")
        consume(entry)
        at = _after_item(text, at, "]")
    return at + 1


def _value(text: str, at: int) -> tuple[object, int]:
    try:
        return _scan(text, at)
    except StopIteration:
        raise json.JSONDecodeError("expecting a value", text, at) from None


def _after(text: str, at: int, sign: str) -> int:
    at = _space(text, at).end()
    if text[at : at + 1] != sign:
        raise json.JSONDecodeError(f"expecting '{sign}'", text, at)
    return _space(text, at + 1).end()


def _after_item(text: str, at: int, end: str) -> int:
    """Return where the next item starts, or the closing bracket."""
    at = _space(text, at).end()
    return at if text[at : at + 1] == end else _after(text, at, ",")
