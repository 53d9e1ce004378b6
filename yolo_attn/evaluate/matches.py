"""What a model found in a set of images, matched with what is there: the raw record that statistics are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.npz import Record

SIZES: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""COCO's ranges of box area, in square pixels of the original image; both ends belong to a range."""

_PER_DETECTION = ("image", "cls", "confidence", "correct", "area", "target", "ignored")
_PER_TARGET = ("target_image", "target_cls", "target_area")


@dataclass(frozen=True, eq=False)
class Matches(Record):
    """What a model found in a set of images, matched with what is there.

    Attributes:
        images: Number of images.
        image: Image of each detection, as an index.
        cls: Class of each detection.
        confidence: Confidence of each detection.
        correct: Whether each detection is a true positive, at each IoU threshold. Shape ``(D, T)``.
        target_image: Image of each target.
        target_cls: Class of each target.
        area: Box area of each detection, in square pixels of the original image.
        target: The target each detection is matched with, as an index, -1 for none. Shape ``(D,)`` where it is the same
            at every threshold, else ``(D, T)``. Only what it says of correct detections counts.
        target_area: Box area of each target.
        names: Names of the images, in their order.
        ignored: Whether each detection counts neither as right nor as wrong. Shape ``(D, T)``.

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

    curve: ClassVar[str] = "drop"
    """How the curve of precision over recall is read; see ``average_precision``."""

    def __post_init__(self):
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
        """The classes that have targets, in order."""
        return np.unique(self.target_cls)

    @property
    def has_sizes(self) -> bool:
        """Whether sizes and matched targets are stored, so that :meth:`restricted` can be asked for."""
        return self.area is not None and self.target is not None and self.target_area is not None

    def restricted(self, low: float, high: float) -> Matches:
        """Return the matches of the targets whose area lies from ``low`` to ``high``, in square pixels.

        As in COCO's evaluation by size, detections of other targets are ignored, and so are detections of no target
        whose own area lies outside. The matching stays what it was, while COCO matches anew for each range.

        Raises:
            YoloAttnError: If areas or matched targets are not stored.
        """
        if not self.has_sizes:
            raise YoloAttnError("matches without 'area', 'target' and 'target_area' cannot be told apart by size")
        matched = np.broadcast_to(self.target if self.target.ndim == 2 else self.target[:, None], self.correct.shape)
        if (self.correct & (matched < 0)).any():
            raise YoloAttnError("a detection is correct, but its 'target' is -1")
        target_outside = (self.target_area < low) | (self.target_area > high)
        outside = (self.area < low) | (self.area > high)
        of_other_target = np.append(target_outside, False)[matched]
        ignored = np.where(self.correct, of_other_target, outside[:, None])
        return replace(
            self,
            correct=self.correct & ~ignored,
            ignored=ignored if self.ignored is None else ignored | self.ignored,
            target=None,
            **{name: getattr(self, name)[~target_outside] for name in _PER_TARGET},
        )

    def by_size(self) -> dict[str, Matches]:
        """Return the matches of ``all`` targets and, where sizes are stored, of those of each of the ``SIZES``."""
        sizes = {name: self.restricted(*limits) for name, limits in SIZES.items()} if self.has_sizes else {}
        return {"all": self, **sizes}
