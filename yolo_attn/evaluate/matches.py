"""Detections of a model matched with the labelled targets: the data that statistics are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.npz import Record

Curve = Literal["drop", "ramp", "coco"]
"""Precision-recall curve; see ``tail`` of :func:`~yolo_attn.evaluate.ap.average_precision`."""

SIZES: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""COCO's ranges of box area, in square pixels of the original image; both ends are included."""

_PER_DETECTION = ("image", "cls", "confidence", "correct", "area", "target", "ignored")
_PER_TARGET = ("target_image", "target_cls", "target_area")


@dataclass(frozen=True, eq=False)
class Matches(Record):
    """Detections in a set of images, matched with the targets (labelled objects).

    Attributes:
        images: Number of images.
        image: Image index of each detection. Shape ``(D,)``.
        cls: Class of each detection. Shape ``(D,)``.
        confidence: Confidence of each detection. Shape ``(D,)``.
        correct: Whether each detection is a true positive, by IoU threshold. Shape ``(D, T)``.
        target_image: Image index of each target. Shape ``(G,)``.
        target_cls: Class of each target. Shape ``(G,)``.
        area: Box area of each detection, in square pixels of the original image. Shape ``(D,)``.
        target: Index of the target each detection is matched with, -1 for none. Shape ``(D,)`` if it is the same at
            every threshold, else ``(D, T)``. It is used for true positives only.
        target_area: Box area of each target, in square pixels. Shape ``(G,)``.
        names: Names of the images, in their order.
        ignored: Whether each detection counts neither as true nor as false positive. Shape ``(D, T)``.

    Raises:
        YoloAttnError: If the arrays do not fit together.
    """

    images: int
    image: np.ndarray
    cls: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    target_image: np.ndarray
    target_cls: np.ndarray
    area: np.ndarray | None = None
    target: np.ndarray | None = None
    target_area: np.ndarray | None = None
    names: tuple[str, ...] = ()
    ignored: np.ndarray | None = None

    curve: ClassVar[Curve] = "drop"
    """Precision-recall curve; see ``tail`` of :func:`~yolo_attn.evaluate.ap.average_precision`."""

    def __post_init__(self) -> None:
        self._make_arrays((*_PER_DETECTION, *_PER_TARGET))
        if self.correct.ndim != 2:
            raise YoloAttnError(f"'correct' has shape {self.correct.shape}; give (detections, IoU thresholds)")
        object.__setattr__(self, "correct", self.correct.astype(bool))
        self._check_lengths(_PER_DETECTION, len(self.correct))
        self._check_lengths(_PER_TARGET, len(self.target_cls))
        if self.ignored is not None and self.ignored.shape != self.correct.shape:
            raise YoloAttnError(f"'ignored' has shape {self.ignored.shape}, 'correct' has {self.correct.shape}")
        self._check_names()
        self._check_indices("image", self.images)
        self._check_indices("target_image", self.images)
        if self.target is not None:
            self._check_indices("target", len(self.target_cls), lowest=-1)

    @cached_property
    def classes(self) -> np.ndarray:
        """Classes that have targets, in order."""
        return np.unique(self.target_cls)

    @cached_property
    def images_by_class(self) -> np.ndarray:
        """Number of images that have a target of each of ``classes``."""
        pairs = np.unique(np.stack([self.target_cls, self.target_image]), axis=1)
        return np.unique(pairs[0], return_counts=True)[1]

    @property
    def has_sizes(self) -> bool:
        """Whether areas and matched targets are stored, which :meth:`restricted` needs."""
        return self.area is not None and self.target is not None and self.target_area is not None

    def restricted(self, low: float, high: float) -> Matches:
        """Return the matches of targets with an area from ``low`` to ``high``, in square pixels.

        As in COCO's evaluation by size, detections matched with other targets are ignored, and so are unmatched
        detections whose own area is outside. The matching is kept, while COCO matches again for each range.

        Raises:
            YoloAttnError: If areas or matched targets are not stored.
        """
        if self.area is None or self.target is None or self.target_area is None:
            raise YoloAttnError("matches without 'area', 'target' and 'target_area' cannot be told apart by size")
        matched = np.broadcast_to(self.target if self.target.ndim == 2 else self.target[:, None], self.correct.shape)
        if (self.correct & (matched < 0)).any():
            raise YoloAttnError("a detection is correct, but its 'target' is -1")
        target_outside: np.ndarray = (self.target_area < low) | (self.target_area > high)
        outside: np.ndarray = (self.area < low) | (self.area > high)
        of_other_target = np.append(target_outside, False)[matched]
        ignored = np.where(self.correct, of_other_target, outside[:, None])
        return replace(
            self,
            correct=self.correct & ~ignored,
            ignored=ignored if self.ignored is None else ignored | self.ignored,
            target=None,
            target_image=self.target_image[~target_outside],
            target_cls=self.target_cls[~target_outside],
            target_area=self.target_area[~target_outside],
        )

    def by_size(self) -> dict[str, Matches]:
        """Return the matches of ``all`` targets and, if sizes are stored, of the targets of each of ``SIZES``."""
        sizes = {name: self.restricted(*limits) for name, limits in SIZES.items()} if self.has_sizes else {}
        return {"all": self, **sizes}
