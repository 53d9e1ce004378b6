"""Compare the sizes that annotations state with those of the image files."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from yolo_attn.subset.labelled_images import LabelledImages

MOST = 5000
"""Most images whose headers are read; of more, so many at even distances."""

_ORIENTATION, _TURNED = 274, (5, 6, 7, 8)
_WITH_ORIENTATION = ("JPEG", "MPO", "PNG", "AVIF")


def size_notes(images: LabelledImages, paths: Sequence[str], split: str) -> list[str]:
    """Return notes on images whose files have another size than stated, or cannot be read.

    Args:
        images: The images.
        paths: Path of each file.
        split: Name of the split, for the notes.
    """
    if images.stated is None or not len(images):
        return []
    read = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST)).astype(int))
    wrong, broken = [], []
    for k in read.tolist():
        stated = tuple(images.stated[:, k].astype(int).tolist())
        try:
            if (own := file_size(paths[k])) != stated:
                wrong.append(f"{os.path.basename(paths[k])} is {own[0]}x{own[1]}, not {stated[0]}x{stated[1]}")
        # ImportError: Ultralytics, if loaded, looks for a plugin
        except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError):
            broken.append(os.path.basename(paths[k]))
    of = f"of {len(read)} {split} images" + (" looked at" if len(read) < len(images) else "")
    notes = []
    if wrong:
        notes.append(
            f"{len(wrong)} {of} have another size than {images.origin} states, so their boxes are misplaced or lost: "
            f"{wrong[0]}; correct the annotations"
        )
    if broken:
        notes.append(f"{len(broken)} {of} cannot be read: {broken[0]}")
    return notes


def file_size(path: str) -> tuple[int, int]:
    """Return width and height of an image as Ultralytics loads it, which turns it by its EXIF orientation."""
    with Image.open(path) as picture:
        width, height = picture.size
        turned = picture.format in _WITH_ORIENTATION and picture.getexif().get(_ORIENTATION) in _TURNED
        return (height, width) if turned else (width, height)
