"""Compare the sizes that annotations state with those of the image files, and look whether these are whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from yolo_attn.errors import listed
from yolo_attn.subset.labelled_images import LabelledImages

# ImportError: Ultralytics, if loaded, looks for a plugin
UNREADABLE = (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError)
"""Errors that Pillow raises for files that are no images, or damaged."""

_ORIENTATION, _TURNED = 274, (5, 6, 7, 8)
_WITH_ORIENTATION = ("JPEG", "MPO", "PNG", "AVIF")
_END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True)
class Faults:
    """File names of a split's images that are not as they should be.

    Attributes:
        other_size: Those of another size than the annotations state.
        unreadable: Those whose header cannot be read.
        cut_short: JPEG files without the mark at their end.
    """

    other_size: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    cut_short: list[str] = field(default_factory=list)


def check_files(images: LabelledImages, paths: Sequence[str], split: str) -> tuple[Faults, list[str]]:
    """Read the header and the end of every image file; return what is wrong, and notes that say so.

    Args:
        images: The images.
        paths: Path of each file.
        split: Name of the split, for the notes.
    """
    faults, example = Faults(), ""
    for k, path in enumerate(paths):
        name = os.path.basename(path)
        try:
            with Image.open(path) as picture:
                own, is_jpeg = _turned_size(picture), picture.format == "JPEG"
            if images.stated is not None and own != (stated := tuple(images.stated[:, k].astype(int).tolist())):
                faults.other_size.append(name)
                example = example or f"{name} is {own[0]}x{own[1]}, not {stated[0]}x{stated[1]}"
            if is_jpeg and not _has_end(path):
                faults.cut_short.append(name)
        except UNREADABLE:
            faults.unreadable.append(name)
    of, notes = f"of {len(images)} {split} images", []
    if faults.other_size:
        notes.append(
            f"{len(faults.other_size)} {of} have another size than {images.origin} states, so their boxes are "
            f"misplaced or lost: {example}; correct the annotations"
        )
    if faults.unreadable:
        notes.append(f"{len(faults.unreadable)} {of} cannot be read: {listed(faults.unreadable)}")
    if faults.cut_short:
        notes.append(
            f"{len(faults.cut_short)} {of} do not end as JPEG files do and may be cut short: "
            f"{listed(faults.cut_short)}; Ultralytics writes such files anew when it trains"
        )
    return faults, notes


def file_size(path: str) -> tuple[int, int]:
    """Return width and height of an image as Ultralytics loads it, which turns it by its EXIF orientation."""
    with Image.open(path) as picture:
        return _turned_size(picture)


def _turned_size(picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    turned = picture.format in _WITH_ORIENTATION and picture.getexif().get(_ORIENTATION) in _TURNED
    return (height, width) if turned else (width, height)


def _has_end(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(-len(_END_OF_JPEG), os.SEEK_END)
        return file.read() == _END_OF_JPEG
