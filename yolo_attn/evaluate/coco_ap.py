"""Match boxes as ``pycocotools`` does, for COCO's definition of average precision.

COCO's matching differs from Ultralytics': at most 100 detections of a class count per image, targets outside a range of
sizes can be matched but are ignored, and each range is matched separately. Crowd annotations are not supported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.matches import SIZES, Curve, Matches
from yolo_attn.evaluate.npz import Record

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds."""

MOST_DETECTIONS = 100
"""Most detections that count, per image and class."""

_RANGES = {"all": (0.0, np.inf), **SIZES}
_PER_DETECTION = ("image", "cls", "confidence", "boxes")
_PER_TARGET = ("target_image", "target_cls", "target_boxes", "target_area")


@dataclass(frozen=True, eq=False)
class Boxes(Record):
    """Detected and labelled boxes of a set of images, not matched yet.

    Attributes:
        images: Number of images.
        image: Image index of each detection. Shape ``(D,)``.
        cls: Class of each detection. Shape ``(D,)``.
        confidence: Confidence of each detection. Shape ``(D,)``.
        boxes: Box of each detection: left, top, right, bottom, in pixels of the original image. Shape ``(D, 4)``.
        target_image: Image index of each target. Shape ``(G,)``.
        target_cls: Class of each target. Shape ``(G,)``.
        target_boxes: Box of each target. Shape ``(G, 4)``.
        target_area: Area of each target, in square pixels; COCO takes that of the mask. By default the box's.
        names: Names of the images, in their order.

    Raises:
        YoloAttnError: If the arrays do not fit together.
    """

    images: int
    image: np.ndarray
    cls: np.ndarray
    confidence: np.ndarray
    boxes: np.ndarray
    target_image: np.ndarray
    target_cls: np.ndarray
    target_boxes: np.ndarray
    target_area: np.ndarray | None = None
    names: tuple[str, ...] = ()

    curve: ClassVar[Curve] = "coco"
    """Precision-recall curve; see ``tail`` of :func:`~yolo_attn.evaluate.ap.average_precision`."""

    def __post_init__(self) -> None:
        self._make_arrays((*_PER_DETECTION, *_PER_TARGET))
        self._check_lengths(_PER_DETECTION, len(self.confidence))
        self._check_lengths(_PER_TARGET, len(self.target_cls))
        self._check_names()
        self._check_indices("image", self.images)
        self._check_indices("target_image", self.images)
        for name in ("boxes", "target_boxes"):
            if getattr(self, name).shape[1:] != (4,):
                raise YoloAttnError(f"'{name}' has shape {getattr(self, name).shape}; give (boxes, 4)")

    def by_size(self) -> dict[str, Matches]:
        """Match as COCO does; return the matches of ``all`` targets and of those of each size."""
        kept = self._counted()
        area = _area(self.boxes[kept])
        target_area = _area(self.target_boxes) if self.target_area is None else self.target_area
        limits = np.array(list(_RANGES.values()))
        foreign = (target_area[:, None] < limits[:, 0]) | (target_area[:, None] > limits[:, 1])  # (G, ranges)
        outside = (area[:, None] < limits[:, 0]) | (area[:, None] > limits[:, 1])  # (D, ranges)
        shape = (len(kept), len(limits), len(THRESHOLDS))
        matched, ignored = np.zeros(shape, bool), np.broadcast_to(outside[:, :, None], shape).copy()
        for own, targets in self._groups(kept):
            _match(_overlap(self.boxes[kept[own]], self.target_boxes[targets]), foreign[targets], own, matched, ignored)
        return {
            name: Matches(
                images=self.images,
                image=self.image[kept],
                cls=self.cls[kept],
                confidence=self.confidence[kept],
                correct=matched[:, r] & ~ignored[:, r],
                target_image=self.target_image[~foreign[:, r]],
                target_cls=self.target_cls[~foreign[:, r]],
                names=self.names,
                ignored=ignored[:, r] if ignored[:, r].any() else None,
            )
            for r, name in enumerate(_RANGES)
        }

    def _counted(self) -> np.ndarray:
        """Return indices of the most confident detections of each image and class, by descending confidence."""
        order = np.lexsort((-self.confidence, self.cls, self.image))
        place = np.arange(len(order))
        first = np.r_[True, (np.diff(self.image[order]) != 0) | (np.diff(self.cls[order]) != 0)][: len(order)]
        return order[place - np.maximum.accumulate(np.where(first, place, 0)) < MOST_DETECTIONS]

    def _groups(self, kept: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield detections (as indices into ``kept``) and targets of each image and class that has both."""
        classes, rank = np.unique(np.append(self.cls[kept], self.target_cls), return_inverse=True)
        own = self.image[kept].astype(np.int64) * len(classes) + rank[: len(kept)]
        theirs = self.target_image.astype(np.int64) * len(classes) + rank[len(kept) :]
        by_own, by_theirs = np.argsort(own, kind="stable"), np.argsort(theirs, kind="stable")
        both = np.intersect1d(own, theirs)
        ends = [np.searchsorted(a, both, side) for a in (own[by_own], theirs[by_theirs]) for side in ("left", "right")]
        for a, b, c, d in zip(*ends, strict=True):
            yield by_own[a:b], by_theirs[c:d]


def _match(overlap: np.ndarray, foreign: np.ndarray, own: np.ndarray, matched: np.ndarray, ignored: np.ndarray) -> None:
    """Match the detections of one image and class with its targets, the most confident first.

    Args:
        overlap: IoU of each detection and target. Shape ``(D, G)``.
        foreign: Whether each target lies outside each range of sizes. Shape ``(G, ranges)``.
        own: Indices of the detections in the two outputs.
        matched: Output: whether each detection has a target, by range and threshold. Shape ``(all, ranges, T)``.
        ignored: Output: whether that target is outside the range. Shape ``(all, ranges, T)``.
    """
    free = np.ones((*foreign.shape, len(THRESHOLDS)), bool)
    ranges, thresholds = np.indices(free.shape[1:])
    for d in np.flatnonzero(overlap.max(1) >= THRESHOLDS[0]):
        open_ = free & (overlap[d, :, None] >= THRESHOLDS)[:, None]
        preferred = open_ & ~foreign[:, :, None]
        open_ = np.where(preferred.any(0), preferred, open_)
        score = np.where(open_, overlap[d, :, None, None], -1.0)
        best = len(score) - 1 - score[::-1].argmax(0)  # the last of equal ones, as in COCO
        has = open_.any(0)
        matched[own[d]] = has
        ignored[own[d]] = np.where(has, foreign[best, ranges], ignored[own[d]])
        free[best, ranges, thresholds] &= ~has


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU of each box with each other box: ``(D, 4)``, ``(G, 4)`` -> ``(D, G)``."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    common = np.clip(sides, 0, None).prod(2)
    union = _area(boxes)[:, None] + _area(others) - common
    overlap = np.zeros(common.shape)
    np.divide(common, union, out=overlap, where=union > 0)
    return overlap


def _area(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return area
