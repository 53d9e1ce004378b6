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
        return self.matched().by_size()

    def matched(self) -> CocoMatches:
        """Match as COCO does."""
        kept = self._counted()
        area = _area(self.boxes[kept])
        target_area = _area(self.target_boxes) if self.target_area is None else self.target_area
        target_outside = _outside(target_area)
        matched = np.zeros((len(kept), len(_RANGES), len(THRESHOLDS)), bool)
        foreign = matched.copy()
        for own, targets in self._groups(kept):
            overlap = _overlap(self.boxes[kept[own]], self.target_boxes[targets])
            _match(overlap, target_outside[targets], own, matched, foreign)
        return CocoMatches(
            images=self.images,
            image=self.image[kept],
            cls=self.cls[kept],
            confidence=self.confidence[kept],
            matched=matched,
            foreign=foreign,
            outside=_outside(area),
            target_image=self.target_image,
            target_cls=self.target_cls,
            target_outside=target_outside,
            names=self.names,
        )

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


@dataclass(frozen=True, eq=False)
class CocoMatches(Record):
    """Detections matched with the labelled targets as COCO does, once for each range of sizes.

    Attributes:
        images: Number of images.
        image: Image index of each detection. Shape ``(D,)``.
        cls: Class of each detection. Shape ``(D,)``.
        confidence: Confidence of each detection; only the order within a class counts. Shape ``(D,)``.
        matched: Whether each detection has a target, by range and IoU threshold. Shape ``(D, 4, T)``.
        foreign: Whether that target is outside the range. Shape ``(D, 4, T)``.
        outside: Whether each detection is outside each range. Shape ``(D, 4)``.
        target_image: Image index of each target. Shape ``(G,)``.
        target_cls: Class of each target. Shape ``(G,)``.
        target_outside: Whether each target is outside each range. Shape ``(G, 4)``.
        names: Names of the images, in their order.

    Raises:
        YoloAttnError: If the arrays do not fit together.
    """

    images: int
    image: np.ndarray
    cls: np.ndarray
    confidence: np.ndarray
    matched: np.ndarray
    foreign: np.ndarray
    outside: np.ndarray
    target_image: np.ndarray
    target_cls: np.ndarray
    target_outside: np.ndarray
    names: tuple[str, ...] = ()

    curve: ClassVar[Curve] = "coco"
    """Precision-recall curve; see ``tail`` of :func:`~yolo_attn.evaluate.ap.average_precision`."""

    def __post_init__(self) -> None:
        detections = ("image", "cls", "confidence", "matched", "foreign", "outside")
        targets = ("target_image", "target_cls", "target_outside")
        self._make_arrays((*detections, *targets))
        self._check_lengths(detections, len(self.confidence))
        self._check_lengths(targets, len(self.target_cls))
        self._check_names()
        self._check_indices("image", self.images)
        self._check_indices("target_image", self.images)

    def by_size(self) -> dict[str, Matches]:
        """Return the matches of ``all`` targets and of those of each size."""
        ignored = np.where(self.matched, self.foreign, self.outside[:, :, None])
        return {
            name: Matches(
                images=self.images,
                image=self.image,
                cls=self.cls,
                confidence=self.confidence,
                correct=self.matched[:, r] & ~ignored[:, r],
                target_image=self.target_image[~self.target_outside[:, r]],
                target_cls=self.target_cls[~self.target_outside[:, r]],
                names=self.names,
                ignored=ignored[:, r] if ignored[:, r].any() else None,
            )
            for r, name in enumerate(_RANGES)
        }


def _outside(area: np.ndarray) -> np.ndarray:
    """Tell which areas are outside each range: ``(N,)`` -> ``(N, ranges)``."""
    limits = np.array(list(_RANGES.values()))
    outside: np.ndarray = (area[:, None] < limits[:, 0]) | (area[:, None] > limits[:, 1])
    return outside


def _match(overlap: np.ndarray, outside: np.ndarray, own: np.ndarray, matched: np.ndarray, foreign: np.ndarray) -> None:
    """Match the detections of one image and class with its targets, the most confident first.

    Args:
        overlap: IoU of each detection and target. Shape ``(D, G)``.
        outside: Whether each target lies outside each range of sizes. Shape ``(G, ranges)``.
        own: Indices of the detections in the two outputs.
        matched: Output: whether each detection has a target, by range and threshold. Shape ``(all, ranges, T)``.
        foreign: Output: whether that target is outside the range. Shape ``(all, ranges, T)``.
    """
    free = np.ones((*outside.shape, len(THRESHOLDS)), bool)
    ranges, thresholds = np.indices(free.shape[1:])
    for d in np.flatnonzero(overlap.max(1) >= THRESHOLDS[0]):
        open_ = free & (overlap[d, :, None] >= THRESHOLDS)[:, None]
        preferred = open_ & ~outside[:, :, None]
        open_ = np.where(preferred.any(0), preferred, open_)
        score = np.where(open_, overlap[d, :, None, None], -1.0)
        best = len(score) - 1 - score[::-1].argmax(0)  # the last of equal ones, as in COCO
        has = open_.any(0)
        matched[own[d]] = has
        foreign[own[d]] = has & outside[best, ranges]
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
