"""Read a COCO detection file of any size: fields that are not needed, such as polygons, are skipped while decoding."""

from __future__ import annotations

import codecs
import itertools
import json
from array import array
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from yolo_attn.errors import YoloAttnError, shorten
from yolo_attn.subset.labelled_images import CROWD, DUPLICATE, LabelledImages, corners_to_labels, find_duplicates
from yolo_attn.util.files import stays_inside

LISTS = ("images", "annotations", "categories")


# Every field may be missing or of any type here, so that the error of a wrong one can quote its entry.
class _Image(msgspec.Struct):
    id: Any = msgspec.UNSET
    file_name: Any = msgspec.UNSET
    width: Any = msgspec.UNSET
    height: Any = msgspec.UNSET


class _Annotation(msgspec.Struct):
    image_id: Any = msgspec.UNSET
    category_id: Any = msgspec.UNSET
    bbox: Any = msgspec.UNSET
    area: Any = None
    iscrowd: Any = None


class _Category(msgspec.Struct):
    id: Any = msgspec.UNSET
    name: Any = msgspec.UNSET


class _Content(msgspec.Struct):
    images: list[_Image] | msgspec.UnsetType = msgspec.UNSET
    annotations: list[_Annotation] | msgspec.UnsetType = msgspec.UNSET
    categories: list[_Category] | msgspec.UnsetType = msgspec.UNSET


def read_coco(path: Path, folders: tuple[Path, ...]) -> LabelledImages:
    """Read images, boxes and classes of a COCO detection file.

    Crowd regions, boxes outside their image, boxes without area and exact duplicates are marked as left out. Classes
    are numbered in the order of the category ids.

    Args:
        path: The JSON file.
        folders: Folders that may hold its images.

    Raises:
        YoloAttnError: It cannot be read, is cut short or malformed, or an annotation names an unknown image or
            category.
    """
    content = _decode(path)
    images, boxes, categories = _Images(), _Boxes(), _Categories()
    for key, add in (("images", images.add), ("annotations", boxes.add), ("categories", categories.add)):
        entries = getattr(content, key)
        if entries is msgspec.UNSET:
            raise YoloAttnError(f"{path} is not a COCO detection file: it has no list of objects {key!r}.")
        for entry in entries:
            try:
                add(entry)
            except (TypeError, ValueError) as error:
                given = {k: v for k, v in msgspec.structs.asdict(entry).items() if v is not msgspec.UNSET}
                raise YoloAttnError(f"{path} has a malformed entry in {key!r} ({error}): {shorten(given)}.") from error
        entries.clear()  # annotations are the most of a file, and are arrays by now
    if not categories.names:
        raise YoloAttnError(f"{path} names no categories.")
    if not images.ids:
        raise YoloAttnError(f"{path} lists no images.")
    return _assemble(path, folders, images, boxes, dict(sorted(categories.names.items())))


class _Categories:
    def __init__(self) -> None:
        self.names: dict[int, str] = {}

    def add(self, entry: _Category) -> None:
        _require(entry, "id", "name")
        self.names[int(entry.id)] = str(entry.name)


class _Images:
    def __init__(self) -> None:
        self.ids: list[float | str] = []
        self.file_names: list[str] = []
        self.widths, self.heights = array("d"), array("d")

    def add(self, entry: _Image) -> None:
        _require(entry, "id", "file_name")
        if isinstance(entry.id, bool) or not isinstance(entry.id, (int, float, str)):
            raise ValueError("id must be a number or text")
        name = str(entry.file_name).replace("\\", "/")
        if not stays_inside(name):
            raise ValueError("file_name must stay inside the folder of the images")
        _require(entry, "width", "height")
        width, height = float(entry.width), float(entry.height)
        if not (width > 0 and height > 0):
            raise ValueError("width and height must be above 0")
        self.ids.append(entry.id)
        self.file_names.append(name)
        self.widths.append(width)
        self.heights.append(height)


class _Boxes:
    def __init__(self) -> None:
        self.image_ids: list[float | str] = []
        self.category_ids: list[int] = []
        self.boxes, self.areas, self.crowds = array("d"), array("d"), array("b")

    def add(self, entry: _Annotation) -> None:
        _require(entry, "bbox", "image_id", "category_id")
        x, y, width, height = map(float, entry.bbox)
        area = width * height if entry.area is None else float(entry.area)
        self.image_ids.append(entry.image_id)
        self.category_ids.append(entry.category_id)
        self.boxes.extend((x, y, width, height))
        self.areas.append(area)
        self.crowds.append(_is_crowd(entry.iscrowd))


def _is_crowd(value: Any) -> bool:
    """Read a truth value that some tools write as text."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false", "null", "none", ""):
            return word == "true"
        return float(word) != 0
    return bool(value)


def _require(entry: msgspec.Struct, *fields: str) -> None:
    for field in fields:
        if getattr(entry, field) is msgspec.UNSET:
            raise ValueError(f"no {field!r}")


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
        stated=np.stack([np.frombuffer(images.widths)[order], np.frombuffer(images.heights)[order]]),
    )


def _ascending(path: Path, ids: list[Any]) -> list[int]:
    try:
        order = sorted(range(len(ids)), key=ids.__getitem__)
    except TypeError as error:
        raise YoloAttnError(f"{path} has image ids of several types: {error}.") from error
    for one, other in itertools.pairwise(order):
        if ids[one] == ids[other]:
            raise YoloAttnError(f"{path} has two images with the id {ids[one]!r}.")
    return order


def _positions(path: Path, key: str, values: list[Any], known: dict[Any, int]) -> np.ndarray:
    try:
        return np.array([known[value] for value in values], np.int64)
    except (KeyError, TypeError):
        dangling = [value for value in values if not isinstance(value, (int, str)) or value not in known]
        raise YoloAttnError(
            f"{path}: {len(dangling)} of {len(values)} annotations name an unknown {key}, the first being "
            f"{dangling[0]!r}."
        ) from None


# --- JSON -------------------------------------------------------------------------------------------------------------
def _decode(path: Path) -> _Content:
    """Return the lists of a file; a file that msgspec refuses is decoded again by the standard library.

    The standard library takes NaN and infinity for numbers, and tells where a file is cut short.
    """
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise YoloAttnError(f"cannot read {path}: {error.strerror or error}.") from error
    try:
        return msgspec.json.decode(data, type=_Content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return msgspec.convert(_lists_of(path, data), _Content)


def _lists_of(path: Path, data: bytes) -> dict[str, list[dict[str, Any]]]:
    """Return the lists of a file, decoded by the standard library.

    Raises:
        YoloAttnError: It is not JSON, or not a COCO detection file.
    """
    try:
        content = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise YoloAttnError(f"{path} is not valid JSON: it is not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        where = f"near {shorten(error.doc[error.pos :][:40])}" if error.doc[error.pos :].strip() else "at its end"
        raise YoloAttnError(f"{path} is not valid JSON, perhaps cut short: {error.msg} {where}.") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits, lists within too many lists
        raise YoloAttnError(f"{path} is not a COCO detection file: {error}.") from error
    if not isinstance(content, dict):
        raise YoloAttnError(f"{path} is not a COCO detection file: it holds a {type(content).__name__}, not an object.")
    lists = {key: content[key] for key in LISTS if key in content}
    for key, entries in lists.items():
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            raise YoloAttnError(f"{path} is not a COCO detection file: it has no list of objects {key!r}.")
    return lists
