"""Read a set in YOLO's format: a data YAML, image folders or lists, and a label file per image."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.labelled_images import DUPLICATE, LabelledImages, corners_to_labels, find_duplicates

IMAGE_SUFFIXES = (  # that Ultralytics reads
    ".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp",
)  # fmt: skip


@dataclass(frozen=True)
class YoloPart:
    """One split of a YOLO set.

    Args:
        origin: The data YAML, for messages.
        class_names: Names by class.
        folder: The deepest folder that holds all images.
        file_names: Of the images, relative to `folder`, with ``/``, ascending.
    """

    origin: str
    class_names: tuple[str, ...]
    folder: Path
    file_names: tuple[str, ...]

    def digest(self) -> str:
        """Return the SHA-256 of all names and labels."""
        seen = hashlib.sha256(repr(self.class_names).encode())
        for name in self.file_names:
            seen.update(name.encode() + b"\0" + self._label_text(name).encode() + b"\0")
        return seen.hexdigest()

    def read(self) -> LabelledImages:
        """Read labels and image sizes; the images themselves are not decoded."""
        rows, counts = [], []
        for name in self.file_names:
            boxes = self._boxes(name)
            rows += boxes
            counts.append(len(boxes))
        image = np.repeat(np.arange(len(counts)), counts)
        table = np.array(rows, float).reshape(-1, 5).T
        widths, heights = self._sizes()[image].T
        category, (left, right) = table[0].astype(np.int64), table[[1, 3]] * widths
        top, bottom = table[[2, 4]] * heights
        box, fate = corners_to_labels(np.stack([left, top, right, bottom]), widths, heights)
        fate[find_duplicates(image, category, box, fate == 0)] = DUPLICATE
        area = box[2] * widths * box[3] * heights
        return LabelledImages(
            self.origin, self.class_names, self.file_names, self.file_names, (self.folder,), image, category, box, area,
            fate,
        )  # fmt: skip

    def _boxes(self, name: str) -> list[tuple[float, ...]]:
        """Return class, x1, y1, x2, y2 of each line as fractions of the image; a polygon becomes its box."""
        boxes: list[tuple[float, ...]] = []
        for number, line in enumerate(self._label_text(name).splitlines(), 1):
            words = line.split()
            if not words:
                continue
            try:
                category, *values = map(float, words)
                if not (category.is_integer() and 0 <= category < len(self.class_names)):
                    raise ValueError(f"class {words[0]} is not one of 0 to {len(self.class_names) - 1}")
                boxes.append((category, *_corners(values)))
            except ValueError as error:
                raise YoloAttnError(f"{self._label_path(name)}, line {number}: {error}.") from error
        return boxes

    def _sizes(self) -> np.ndarray:
        """Return width and height of every image, from its header."""
        sizes, broken = [], []
        for name in self.file_names:
            try:
                with Image.open(self.folder / name) as picture:
                    sizes.append(picture.size)
            # ImportError: Ultralytics, if loaded, looks for a plugin
            except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError):
                broken.append(name)
        if broken:
            raise YoloAttnError(
                f"{len(broken)} of {len(self.file_names)} images cannot be read, the first being "
                f"{self.folder / broken[0]}."
            )
        return np.array(sizes, float)

    def _label_path(self, name: str) -> str:
        head, images, tail = (self.folder / name).as_posix().rpartition("/images/")
        return os.path.splitext(f"{head}/labels/{tail}" if images else tail)[0] + ".txt"

    def _label_text(self, name: str) -> str:
        try:
            with open(self._label_path(name), encoding="utf-8-sig") as file:
                return file.read()
        except FileNotFoundError:  # as in Ultralytics: an image without objects
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise YoloAttnError(f"cannot read {self._label_path(name)}: {error}.") from error


def _corners(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    raise ValueError(f"expected a class and 4 numbers, or a class and a polygon, found {1 + len(values)} numbers")


def find_yolo_parts(path: Path) -> dict[str, YoloPart]:
    """Find the splits that a data YAML names.

    Args:
        path: The data YAML.

    Returns:
        ``train`` and ``val``, or ``all`` where the YAML names no validation images or the same as for training.

    Raises:
        YoloAttnError: The YAML is not one of a detection set, or its images are not there.
    """
    data = _read_yaml(path)
    names = _class_names(path, data.get("names"))
    root = Path(data.get("path") or path.parent)
    root = root if root.is_absolute() else _first_folder(path, [path.parent / root, root])
    if not data.get("train"):
        raise YoloAttnError(f"{path} names no training images ('train:').")
    files = {split: _images(path, root, data[split]) for split in ("train", "val") if data.get(split)}
    if files.get("val") in (None, files["train"]):
        files = {"all": files["train"]}
    return {split: _part(path, names, found) for split, found in files.items()}


def _part(path: Path, names: tuple[str, ...], images: list[str]) -> YoloPart:
    folder = os.path.commonpath([os.path.dirname(image) for image in images])
    relative = sorted(Path(os.path.relpath(image, folder)).as_posix() for image in images)
    return YoloPart(path.name, names, Path(folder), tuple(relative))


def _read_yaml(path: Path) -> dict:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise YoloAttnError(f"cannot read {path}: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YoloAttnError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(data, dict):
        raise YoloAttnError(f"{path} is not a data YAML: it has no 'train:' and 'names:'.")
    return data


def _class_names(path: Path, names: object) -> tuple[str, ...]:
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list) or not names:
        raise YoloAttnError(f"{path} needs 'names:', a list of classes or a mapping from 0, 1, 2, ... to them.")
    return tuple(map(str, names))


def _first_folder(path: Path, places: list[Path]) -> Path:
    for place in places:
        if place.is_dir():
            return place.absolute()
    raise YoloAttnError(f"{path} has 'path: {places[-1]}', but there is no such folder, nor one relative to the YAML.")


def _images(path: Path, root: Path, entries: str | list[str]) -> list[str]:
    """Return the absolute paths of the images in the named folders and lists, ascending, each once."""
    found: set[str] = set()
    for entry in [entries] if isinstance(entries, str) else entries:
        place = Path(os.path.abspath(root / entry))
        if place.is_dir():
            inside = (os.path.join(where, name) for where, _, names in os.walk(place) for name in names)
            found.update(p for p in inside if os.path.splitext(p)[1].lower() in IMAGE_SUFFIXES)
        elif place.is_file() and place.suffix == ".txt":
            lines = place.read_text(encoding="utf-8-sig").splitlines()
            found.update(os.path.abspath(place.parent / line.strip()) for line in lines if line.strip())
        else:
            raise YoloAttnError(f"{path} names {place}, which is neither a folder nor a .txt list of images.")
    if not found:
        raise YoloAttnError(f"{path}: there are no images in {entries}.")
    return sorted(found)
