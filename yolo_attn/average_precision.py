"""Average precision of resampled images, exactly, without evaluating anything again.

A bootstrap draws images with replacement: image ``i`` occurs ``w_i`` times. What Ultralytics would compute for such a
set, with every drawn image's detections and targets repeated, follows from the matches of the original set alone:
counts are weighted, and a true positive that occurs ``w`` times raises the recall in ``w`` steps, of which only the
first bends the curve between two of its points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

RECALLS = np.linspace(0, 1, 101)
"""The recalls at which precision is read off, as in COCO and Ultralytics."""

Tail = Literal["drop", "ramp"]
_integral = getattr(np, "trapezoid", None) or np.trapz  # the name before numpy 2


@dataclass(frozen=True)
class Matches:
    """What a model found in a set of images, matched with what is there.

    Attributes:
        images: Number of images.
        image: Image of each detection, as an index.
        cls: Class of each detection.
        confidence: Confidence of each detection.
        correct: Whether each detection is a true positive, at each IoU threshold. Shape ``(D, T)``.
        target_image: Image of each target.
        target_cls: Class of each target.
    """

    images: int
    image: np.ndarray
    cls: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    target_image: np.ndarray
    target_cls: np.ndarray

    @cached_property
    def classes(self) -> np.ndarray:
        """The classes that have targets, in order."""
        return np.unique(self.target_cls)


def average_precision(matches: Matches, weights: np.ndarray | None = None, tail: Tail = "drop") -> np.ndarray:
    """Return the average precision by replicate, class and IoU threshold.

    Args:
        matches: What was found.
        weights: How often each image occurs in each replicate, integers. Shape ``(R, images)``. Each once by default.
        tail: What lies beyond the last recall: nothing (``drop``, Ultralytics since 8.4), or a line down to precision 0
            at recall 1 (``ramp``, before).

    Returns:
        Shape ``(R, classes with targets, T)``; NaN where a replicate has no target of a class.
    """
    weights = np.ones((1, matches.images), np.int64) if weights is None else np.asarray(weights, np.int64)
    found = np.full((len(weights), len(matches.classes), matches.correct.shape[1]), np.nan)
    for c, cls in enumerate(matches.classes):
        targets = weights[:, matches.target_image[matches.target_cls == cls]].sum(1)
        present = np.flatnonzero(targets)
        if len(present):
            found[present, c] = _of_class(matches, cls, weights[present], targets[present], tail)
    return found


def mean_average_precision(ap: np.ndarray) -> np.ndarray:
    """Return the mean over thresholds and classes that have targets, by replicate: ``(R, C, T)`` -> ``(R,)``."""
    return np.nanmean(ap.mean(2), axis=1)


def _of_class(matches: Matches, cls: int, weights: np.ndarray, targets: np.ndarray, tail: Tail) -> np.ndarray:
    own = np.flatnonzero(matches.cls == cls)
    own = own[np.argsort(-matches.confidence[own], kind="stable")]
    ap = np.zeros((len(weights), matches.correct.shape[1]))
    if not len(own):
        return ap
    occurs = weights[:, matches.image[own]]  # (R, D)
    ranked = occurs.cumsum(1)  # detections down to and with each
    steps = _first_count_beyond(RECALLS, targets)
    for t in range(ap.shape[1]):
        hits = np.flatnonzero(matches.correct[own, t])
        if len(hits):
            curve = _Curve(occurs[:, hits], ranked[:, hits], ranked[:, -1], targets)
            ap[:, t] = _integral(curve.precision_at(steps, tail), RECALLS, axis=1)
    return ap


def _first_count_beyond(recalls: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the smallest count of true positives whose recall, in floating point, exceeds each one: ``(R, X)``."""
    total = targets[:, None]
    count = np.floor(recalls * total)
    count = np.where(count / total > recalls, count, count + 1)
    return np.where(count / total > recalls, count, count + 1).astype(np.int64)


class _Curve:
    """Precision over recall of each replicate, by its true positives: ``w`` of them after ``before`` detections."""

    def __init__(self, occurs: np.ndarray, ranked: np.ndarray, detections: np.ndarray, targets: np.ndarray):
        self.targets, self.detections = targets[:, None], detections[:, None]
        self.found = occurs.cumsum(1)  # true positives down to and with each: (R, K)
        self.found_before = self.found - occurs
        self.before = ranked - occurs  # detections before each
        precision = np.divide(self.found, ranked, out=np.zeros(ranked.shape), where=ranked > 0)
        self.envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]

    def precision_at(self, steps: np.ndarray, tail: Tail) -> np.ndarray:
        """Return the interpolated precision where the next true positive to come is the ``steps``-th: ``(R, X)``."""
        rows, hits = self.found.shape
        span = np.int64(max(self.found[:, -1].max(), steps.max()) + 1)
        shift = np.arange(rows)[:, None] * span  # makes all rows one ascending sequence
        index = np.searchsorted((self.found + shift).ravel(), (steps + shift).ravel()).reshape(steps.shape)
        index -= np.arange(rows)[:, None] * hits
        inside = index < hits
        k = np.minimum(index, hits - 1)
        reached, before, envelope = (
            np.take_along_axis(a, k, 1) for a in (self.found_before, self.before, self.envelope)
        )
        level = np.divide(reached, before, out=np.ones(k.shape), where=before > 0)
        start = np.where(before > 0, np.maximum(level, envelope), 1.0)
        low, high = reached / self.targets, (reached + 1) / self.targets
        along = np.clip((RECALLS - low) / (high - low), 0.0, 1.0)
        return np.where(inside, start + (envelope - start) * along, self._beyond() if tail == "ramp" else 0.0)

    def _beyond(self) -> np.ndarray:
        last = self.found[:, -1:] / self.targets
        level = np.divide(self.found[:, -1:], self.detections, out=np.zeros(last.shape), where=self.detections > 0)
        return np.where(last < 1, level * (1 - RECALLS) / np.where(last < 1, 1 - last, 1.0), 0.0)
