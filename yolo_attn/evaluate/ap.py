"""Compute the exact average precision (AP) of bootstrap samples from the matches of one evaluation.

A bootstrap draws images with replacement: image ``i`` occurs ``w_i`` times. The AP that Ultralytics would compute for
such a set, with the detections and targets of every drawn image repeated, follows from the matches of the original set:
counts are weighted, and a true positive that occurs ``w`` times raises the recall in ``w`` steps. Precision rises with
every true positive, so between two of them, and in all these steps, the envelope of the curve is that of the last step.

The area under the curve is therefore a sum over true positives: each adds the envelope of the precision, times the
weight of the recalls that it reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from yolo_attn.evaluate.matches import Curve, Matches

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which precision is interpolated, as in COCO and Ultralytics."""

_TRAPEZOID = np.full(101, 0.01)
_TRAPEZOID[[0, -1]] = 0.005
_BLOCK = 2_000_000  # true positives, or images, times replicates in memory at once
_FEW = 16  # replicates for which a loop over true positives takes longer than numpy's accumulation


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
    classes = [_ranked_detections(matches, cls) for cls in matches.classes]
    targets = _per_image(matches.target_image, np.searchsorted(matches.classes, matches.target_cls), matches)
    found = np.zeros((len(weights), len(classes), matches.correct.shape[1]))
    longest = max([matches.images, *(len(one.pivots) for one in classes)])
    for rows in _blocks(len(weights), longest):
        drawn = np.ascontiguousarray(weights[rows].T, np.float64)  # counts, which are exact
        for c, (one, total) in enumerate(zip(classes, targets @ drawn, strict=True)):
            if len(one.pivots):
                _class_ap(one, drawn, total.astype(np.int64), tail, found[rows, c])
            found[rows, c][total == 0] = np.nan
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


def map_by_ties(matches: Matches, tail: Curve = "drop") -> tuple[float, float]:
    """Return the lowest and the highest mAP that any order of detections of equal confidence gives.

    Ultralytics leaves their order to a sort that is not stable; here they keep that of the images.

    Args:
        matches: Matched detections.
        tail: Precision beyond the highest recall, see :func:`average_precision`.
    """
    found = []
    for sign in (1, -1):  # false positives first, true positives first
        by_threshold = []
        for t in range(matches.correct.shape[1]):
            order = np.argsort(sign * matches.correct[:, t].astype(int), kind="stable")
            of_one = replace(
                matches, image=matches.image[order], cls=matches.cls[order], confidence=matches.confidence[order],
                correct=matches.correct[order][:, [t]], area=None, target=None,
                ignored=None if matches.ignored is None else matches.ignored[order][:, [t]],
            )  # fmt: skip
            by_threshold.append(average_precision(of_one, tail=tail))
        found.append(float(mean_average_precision(np.concatenate(by_threshold, 2))[0]))
    return found[0], found[1]


def _per_image(image: np.ndarray, row: np.ndarray, matches: Matches) -> csr_array:
    """Return how many of the items of each row are in each image: ``(classes, images)``."""
    return csr_array((np.ones(len(image)), (row, image)), shape=(len(matches.classes), matches.images))


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, columns))
    return (slice(start, start + size) for start in range(0, rows, size))


@dataclass(frozen=True)
class _Detections:
    """Detections of one class, by descending confidence.

    Attributes:
        image: Image index of each detection. Shape ``(D,)``.
        pivots: Ranks of the detections that are a true positive or ignored at some threshold. Shape ``(P,)``.
        correct: Whether each pivot is a true positive, by threshold. Shape ``(P, T)``.
        ignored: Whether each pivot is ignored, by threshold, or ``None`` if none is. Shape ``(P, T)``.
        images: Number of images.
    """

    image: np.ndarray
    pivots: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray | None
    images: int

    @property
    def between(self) -> csr_array:
        """Number of detections after the pivot before, up to each pivot, in each image. Shape ``(P, images)``."""
        ends = np.append(0, self.pivots + 1)
        return csr_array((np.ones(ends[-1]), self.image[: ends[-1]], ends), shape=(len(self.pivots), self.images))

    def conditions(self) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
        """Yield true positives and ignored pivots, as indices, with the thresholds at which they are these."""
        kinds: dict[bytes, list[int]] = {}
        for t in range(self.correct.shape[1]):
            ignored = b"" if self.ignored is None else self.ignored[:, t].tobytes()
            kinds.setdefault(self.correct[:, t].tobytes() + ignored, []).append(t)
        for thresholds in kinds.values():
            hits = np.flatnonzero(self.correct[:, thresholds[0]])
            skipped = None if self.ignored is None else np.flatnonzero(self.ignored[:, thresholds[0]])
            if len(hits):
                yield hits, skipped, np.array(thresholds)


def _ranked_detections(matches: Matches, cls: int) -> _Detections:
    own = np.flatnonzero(matches.cls == cls)
    own = own[np.argsort(-matches.confidence[own], kind="stable")]
    if matches.ignored is None:
        pivots = np.flatnonzero(matches.correct[own].any(1))
        return _Detections(matches.image[own], pivots, matches.correct[own[pivots]], None, matches.images)
    own = own[~matches.ignored[own].all(1)]
    pivots = np.flatnonzero((matches.correct[own] | matches.ignored[own]).any(1))
    ignored = matches.ignored[own[pivots]]
    correct = matches.correct[own[pivots]] & ~ignored
    return _Detections(matches.image[own], pivots, correct, ignored, matches.images)


def _class_ap(detections: _Detections, drawn: np.ndarray, targets: np.ndarray, tail: Curve, ap: np.ndarray) -> None:
    """Write the AP of one class, by replicate and threshold, into ``ap``: ``(R, T)``.

    Args:
        detections: Detections of the class, at least one of them a pivot.
        drawn: Number of times each image was drawn. Shape ``(images, R)``.
        targets: Number of targets of each replicate. Shape ``(R,)``.
        tail: Precision beyond the highest recall.
        ap: Output.
    """
    readout = _CurveWeights(targets, tail)
    occurs = drawn[detections.image[detections.pivots]]
    ranked = _accumulated(np.add, detections.between @ drawn)
    total = _total(detections.image, drawn) if tail == "ramp" else ranked[-1]
    at_least_1 = np.maximum(ranked, 1)
    for hits, skipped, thresholds in detections.conditions():
        counted, everything = at_least_1[hits], total
        if skipped is not None and len(skipped):
            before = np.concatenate([np.zeros((1, len(targets))), _accumulated(np.add, occurs[skipped])])
            counted = np.maximum(ranked[hits] - before[np.searchsorted(skipped, hits)], 1)
            everything = total - before[-1]
        ap[:, thresholds] = readout.area(_accumulated(np.add, occurs[hits]), counted, everything)[:, None]


def _total(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the number of detections of each replicate: ``(R,)``."""
    total: np.ndarray = np.bincount(image, minlength=len(drawn)) @ drawn
    return total


class _CurveWeights:
    """Quadrature weights of a precision-recall curve, tabulated by the number of targets and of true positives ``n``.

    Attributes:
        reached: Weight of the recalls that ``n`` true positives reach.
        beyond: Weight of the recalls beyond ``n`` true positives, for a line down to 0 (``ramp``).
    """

    def __init__(self, targets: np.ndarray, tail: Curve) -> None:
        self.tail = tail
        totals, row = np.unique(np.maximum(targets, 1), return_inverse=True)
        self.width = int(totals[-1]) + 2
        self.first = row * self.width
        weight = np.full(len(RECALLS), 1 / len(RECALLS)) if tail == "coco" else _TRAPEZOID
        before = _first_count_to(totals[:, None], np.greater_equal if tail == "coco" else np.greater) - 1
        falls = self._table(before, weight)
        self.reached = falls.cumsum(1) - falls
        if tail == "ramp":
            left = 1 - np.arange(self.width) / totals[:, None]
            beyond = self._table(before, weight * (1 - RECALLS))[:, ::-1].cumsum(1)[:, ::-1]
            self.beyond = np.divide(beyond, left, out=np.zeros(left.shape), where=left > 0)

    def _table(self, counts: np.ndarray, values: np.ndarray) -> np.ndarray:
        places = (np.arange(len(counts))[:, None] * self.width + counts).ravel()
        sums = np.bincount(places, np.broadcast_to(values, counts.shape).ravel(), len(counts) * self.width)
        return sums.reshape(len(counts), self.width)

    def area(self, found: np.ndarray, ranked: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Return the area under the curve by replicate: ``(R,)``.

        Args:
            found: Number of true positives up to each true positive. Shape ``(K, R)``.
            ranked: Number of detections up to its rank, at least 1. Shape ``(K, R)``.
            total: Number of detections. Shape ``(R,)``.
        """
        reached = self.reached.take(found.astype(np.intp) + self.first)
        reached[1:] -= reached[:-1]
        envelope = _accumulated(np.maximum, (found / ranked)[::-1])[::-1]
        area: np.ndarray = np.einsum("kr,kr->r", envelope, reached)
        if self.tail == "ramp":
            last = found[-1].astype(np.intp)
            area += last / np.maximum(total, 1) * self.beyond.take(last + self.first)
        return area


def _accumulated(ufunc: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Return what ``ufunc.accumulate`` does, row by row; with many columns it is made in place and faster."""
    if values.shape[1] <= _FEW:
        accumulated: np.ndarray = ufunc.accumulate(values)
        return accumulated
    for k in range(1, len(values)):
        ufunc(values[k - 1], values[k], out=values[k])
    return values


def _first_count_to(totals: np.ndarray, reaches: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the smallest count of true positives (at least 1) whose recall reaches each of ``RECALLS``: ``(U, X)``."""
    count = np.maximum(np.floor(RECALLS * totals), 1)
    for _ in range(2):  # rounding may have gone down twice
        count = np.where(reaches(count / totals, RECALLS), count, count + 1)
    smallest: np.ndarray = count.astype(np.int64)
    return smallest
