"""Compute the exact average precision (AP) of bootstrap samples from the matches of one evaluation.

A bootstrap draws images with replacement: image ``i`` occurs ``w_i`` times. The AP that Ultralytics would compute for
such a set, with the detections and targets of every drawn image repeated, follows from the matches of the original set:
counts are weighted, and a true positive that occurs ``w`` times raises the recall in ``w`` steps, of which only the
first bends the precision-recall curve between two of its points.

The area under the curve is therefore a sum over true positives: each adds its interpolated precision, times the weight
of the recalls that it reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from yolo_attn.evaluate.matches import Curve, Matches

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which precision is interpolated, as in COCO and Ultralytics."""

_TRAPEZOID = np.full(101, 0.01)
_TRAPEZOID[[0, -1]] = 0.005
_BLOCK = 2_000_000  # detections times replicates in memory at once


def average_precision(matches: Matches, weights: np.ndarray | None = None, tail: Curve = "drop") -> np.ndarray:
    """Return the average precision by replicate, class and IoU threshold.

    Args:
        matches: Matched detections.
        weights: Number of times each image occurs in each replicate, integers. Shape ``(R, images)``. By default one
            replicate with each image once.
        tail: Precision beyond the highest recall: 0 (``drop``, Ultralytics since 8.4), or a line down to 0 at recall 1
            (``ramp``, before). ``coco`` is COCO's step curve: 0 beyond, no interpolation between points.

    Returns:
        AP of shape ``(R, classes with targets, T)``; NaN where a replicate has no target of a class.
    """
    weights = np.ones((1, matches.images), np.uint8) if weights is None else np.asarray(weights)
    weights = weights.astype(np.min_scalar_type(int(weights.max(initial=0))))
    found = np.full((len(weights), len(matches.classes), matches.correct.shape[1]), np.nan)
    for c, cls in enumerate(matches.classes):
        targets = weights[:, matches.target_image[matches.target_cls == cls]].sum(1, dtype=np.int64)
        present = np.flatnonzero(targets)
        if len(present):
            detections = _ranked_detections(matches, cls)
            found[present, c] = _class_ap(detections, weights[present], targets[present], tail)
    return found


def mean_average_precision(ap: np.ndarray) -> np.ndarray:
    """Return the mean AP over thresholds and classes with targets: ``(R, C, T)`` -> ``(R,)``.

    A replicate without targets gets NaN.
    """
    by_class = ap.mean(2)
    classes = np.count_nonzero(~np.isnan(by_class), axis=1)
    mean = np.full(len(ap), np.nan)
    np.divide(np.nansum(by_class, axis=1), classes, out=mean, where=classes > 0)
    return mean


@dataclass(frozen=True)
class _Detections:
    """Detections of one class, by descending confidence.

    Attributes:
        image: Image index of each detection. Shape ``(D,)``.
        pivots: Ranks of the detections that are a true positive or ignored at some threshold. Shape ``(P,)``.
        correct: Whether each pivot is a true positive, by threshold. Shape ``(P, T)``.
        ignored: Whether each pivot is ignored, by threshold, or ``None`` if none is. Shape ``(P, T)``.
    """

    image: np.ndarray
    pivots: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray | None


def _ranked_detections(matches: Matches, cls: int) -> _Detections:
    own = np.flatnonzero(matches.cls == cls)
    own = own[np.argsort(-matches.confidence[own], kind="stable")]
    if matches.ignored is None:
        pivots = np.flatnonzero(matches.correct[own].any(1))
        return _Detections(matches.image[own], pivots, matches.correct[own[pivots]], None)
    own = own[~matches.ignored[own].all(1)]
    pivots = np.flatnonzero((matches.correct[own] | matches.ignored[own]).any(1))
    ignored = matches.ignored[own[pivots]]
    return _Detections(matches.image[own], pivots, matches.correct[own[pivots]] & ~ignored, ignored)


def _class_ap(detections: _Detections, weights: np.ndarray, targets: np.ndarray, tail: Curve) -> np.ndarray:
    """Return the AP of one class by replicate and threshold: ``(R, T)``."""
    ap = np.zeros((len(weights), detections.correct.shape[1]))
    if not len(detections.pivots):
        return ap
    readout = _CurveWeights(targets, tail)
    for rows in _blocks(len(weights), len(detections.image)):
        occurs, ranked = _counts(detections, weights[rows])
        everything = _total(detections.image, weights[rows]) if tail == "ramp" else ranked[:, -1]
        for t in range(ap.shape[1]):
            hits = np.flatnonzero(detections.correct[:, t])
            if not len(hits):
                continue
            counted, total = ranked, everything
            if detections.ignored is not None:
                skipped = (occurs * detections.ignored[:, t]).cumsum(1)
                counted, total = ranked - skipped, everything - skipped[:, -1]
            ap[rows, t] = readout.area(rows, occurs[:, hits], counted[:, hits], total)
    return ap


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK // columns)
    return (slice(start, start + size) for start in range(0, rows, size))


def _counts(detections: _Detections, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of times each pivot occurs and the detections up to its rank: ``(R, P)`` each."""
    ends = detections.pivots
    drawn = weights.take(detections.image[: ends[-1] + 1], axis=1)
    between = np.add.reduceat(drawn, np.append(0, ends[:-1] + 1), axis=1, dtype=np.int64)
    return drawn[:, ends].astype(np.int64), between.cumsum(1)


def _total(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the number of detections of each replicate: ``(R,)``."""
    total: np.ndarray = weights @ np.bincount(image, minlength=weights.shape[1])
    return total


class _CurveWeights:
    """Quadrature weights of a precision-recall curve, tabulated by the number of targets and of true positives ``n``.

    Attributes:
        reached: Weight of the recalls that ``n`` true positives reach.
        bend: Weight of the recalls that are interpolated with the precision before the ``n + 1``-th true positive.
        beyond: Weight of the recalls beyond ``n`` true positives, for a line down to 0 (``ramp``).
    """

    def __init__(self, targets: np.ndarray, tail: Curve) -> None:
        self.tail = tail
        totals, self.row = np.unique(targets, return_inverse=True)
        self.width = int(totals[-1]) + 2
        weight = np.full(len(RECALLS), 1 / len(RECALLS)) if tail == "coco" else _TRAPEZOID
        before = _first_count_to(totals[:, None], np.greater_equal if tail == "coco" else np.greater) - 1
        falls = self._table(before, weight)
        self.reached = falls.cumsum(1) - falls
        self.bend = self._table(before, weight * (1 - np.clip(RECALLS * totals[:, None] - before, 0.0, 1.0)))
        left = 1 - np.arange(self.width) / totals[:, None]
        beyond = self._table(before, weight * (1 - RECALLS))[:, ::-1].cumsum(1)[:, ::-1]
        self.beyond = np.divide(beyond, left, out=np.zeros(left.shape), where=left > 0)

    def _table(self, counts: np.ndarray, values: np.ndarray) -> np.ndarray:
        table = np.zeros((len(counts), self.width))
        np.add.at(table, (np.arange(len(counts))[:, None], counts), values)
        return table

    def area(self, rows: slice, occurs: np.ndarray, ranked: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Return the area under the curve by replicate: ``(R,)``.

        Args:
            rows: The replicates.
            occurs: Number of times each true positive occurs. Shape ``(R, K)``.
            ranked: Number of detections up to its rank. Shape ``(R, K)``.
            total: Number of detections. Shape ``(R,)``.
        """
        first = self.row[rows, None] * self.width
        found = occurs.cumsum(1)  # true positives up to each rank
        precision = found / np.maximum(ranked, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        gained = np.diff(self.reached.take(found + first), axis=1, prepend=0.0)
        area: np.ndarray = np.einsum("rk,rk->r", envelope, gained)
        if self.tail != "coco":
            found_before, ranked_before = found - occurs, ranked - occurs
            height = np.maximum(found_before / np.maximum(ranked_before, 1), envelope)
            height[ranked_before == 0] = 1.0
            bend = self.bend.take(found_before + first) * (occurs > 0)
            area += np.einsum("rk,rk->r", height - envelope, bend)
        if self.tail == "ramp":
            last = found[:, -1]
            area += last / np.maximum(total, 1) * self.beyond.take(last + first[:, 0])
        return area


def _first_count_to(totals: np.ndarray, reaches: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the smallest count of true positives (at least 1) whose recall reaches each of ``RECALLS``: ``(U, X)``."""
    count = np.maximum(np.floor(RECALLS * totals), 1)
    for _ in range(2):  # rounding may have gone down twice
        count = np.where(reaches(count / totals, RECALLS), count, count + 1)
    smallest: np.ndarray = count.astype(np.int64)
    return smallest
