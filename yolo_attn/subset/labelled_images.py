"""Images and boxes as columns of arrays, the common form of all sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yolo_attn.subset.choice import SIZES

SMALL_BELOW, LARGE_FROM = 32**2, 96**2  # COCO's limits, px^2 of the original image

FATES = ("kept", "crowd", "outside", "no_area", "duplicate", "other_class", "other_size")
KEPT, CROWD, OUTSIDE, NO_AREA, DUPLICATE, OTHER_CLASS, OTHER_SIZE = range(len(FATES))


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images in ascending order of their ids, and their boxes in the order of the images.

    Args:
        origin: What they were read from, for messages.
        class_names: Names by class.
        ids: Id of each image; numbers or strings.
        file_names: Of each image, relative to one of `folders`, with ``/``.
        folders: Where the files may lie; the first that holds the first file is taken for all.
        image: Image of each box, by position, ascending.
        category: Class of each box.
        box: Centre x, centre y, width and height of each box (4, boxes), fractions of the image at six decimals.
        area: COCO's area of each box, px^2: the annotation's own if it has one, else that of the box.
        fate: Why each box is left out of the labels, or that it is kept; see FATES.
        stated: Width and height of each image as the annotations state them (2, images); None where they do not.
    """

    origin: str
    class_names: tuple[str, ...]
    ids: Sequence[float | str]
    file_names: Sequence[str]
    folders: tuple[Path, ...]
    image: np.ndarray
    category: np.ndarray
    box: np.ndarray
    area: np.ndarray
    fate: np.ndarray
    stated: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kept(self) -> np.ndarray:
        """Return a mask of the boxes that the labels keep."""
        return self.fate == KEPT

    @property
    def size(self) -> np.ndarray:
        """Return the size bin of each box: 0 small, 1 medium, 2 large."""
        return np.digitize(self.area, (SMALL_BELOW, LARGE_FROM))

    @property
    def boxes_per_image(self) -> np.ndarray:
        """Return the number of kept boxes of each image."""
        return np.bincount(self.image[self.kept], minlength=len(self))

    def take(self, chosen: np.ndarray) -> LabelledImages:
        """Return the images at these ascending positions, with their boxes."""
        position = np.full(len(self), -1)
        position[chosen] = np.arange(len(chosen))
        stays = position[self.image] >= 0
        return replace(
            self,
            ids=[self.ids[i] for i in chosen],
            file_names=[self.file_names[i] for i in chosen],
            image=position[self.image[stays]],
            category=self.category[stays],
            box=self.box[:, stays],
            area=self.area[stays],
            fate=self.fate[stays],
            stated=None if self.stated is None else self.stated[:, np.asarray(chosen, np.int64)],
        )

    def exclude_boxes(self, boxes: np.ndarray, fate: int) -> LabelledImages:
        """Return the same images without these boxes in the labels."""
        return replace(self, fate=np.where(boxes & self.kept, np.int8(fate), self.fate))

    def counts(self) -> np.ndarray:
        """Return the number of kept boxes by class and size (classes, 3)."""
        cell = self.category[self.kept] * len(SIZES) + self.size[self.kept]
        return np.bincount(cell, minlength=len(self.class_names) * len(SIZES)).reshape(-1, len(SIZES))

    def count_by_fate(self) -> dict[str, int]:
        """Return the number of boxes by fate."""
        return dict(zip(FATES, np.bincount(self.fate, minlength=len(FATES)).tolist(), strict=True))


def corners_to_labels(corners: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes to their images and return them in YOLO's format.

    Args:
        corners: x1, y1, x2, y2 of each box (4, boxes), pixels.
        widths: Width of each box's image, pixels.
        heights: Likewise.

    Returns:
        The boxes as `LabelledImages.box` has them, and the fate of each: KEPT, OUTSIDE or NO_AREA.
    """
    x1, y1, x2, y2 = corners
    fate = np.zeros(len(x1), np.int8)
    fate[(x1 >= widths) | (x2 <= 0) | (y1 >= heights) | (y2 <= 0)] = OUTSIDE
    left, right = np.maximum(x1, 0) / widths, np.minimum(x2, widths) / widths
    top, bottom = np.maximum(y1, 0) / heights, np.minimum(y2, heights) / heights
    box = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]).round(6)
    has_area = (box[2] > 0) & (box[3] > 0) & np.isfinite(box).all(0)
    fate[~has_area & ((fate == KEPT) | ~((x2 > x1) & (y2 > y1)))] = NO_AREA
    return box, fate


def find_duplicates(image: np.ndarray, category: np.ndarray, box: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return a mask of the kept boxes that repeat an earlier kept box of their image exactly."""
    rows = np.flatnonzero(kept)
    keys = [image[rows], category[rows], *box[:, rows]]
    order = np.lexsort(keys)  # stable: the first of equals stays first
    same = np.ones(max(len(rows) - 1, 0), bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    found = np.zeros(len(kept), bool)
    found[rows[order[1:][same]]] = True
    return found
