"""Choose images at random, or so that the subset has the proportions of the whole set.

The stratified choice starts from the random one and swaps images for others while that brings the counts nearer to
their targets. All its sums are of whole numbers that a double holds exactly, so it is the same on every platform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_attn.subset.choice import SIZES
from yolo_attn.subset.labelled_images import LabelledImages

BOX_BINS = (1, 2, 3, 4, 6, 9, 14, 20)  # limits of the bins of boxes per image; the first bin is: no box
UNIT = 16  # counts and targets are whole multiples of 1/16
WEIGHT = 2**20  # of a squared error on a target of one
POOL = 128  # candidates on each side of the swaps that are compared at a time
MAX_ROUNDS = 400
RARE = 10  # a class expected on fewer images than this is chosen first


def choose(images: LabelledImages, number: int, sampling: str, seed: int, stream: int = 0) -> np.ndarray:
    """Return the positions of the chosen images, ascending.

    Args:
        images: What there is to choose from.
        number: How many are wanted.
        sampling: ``stratified`` or ``random``.
        seed: Seed of the choice.
        stream: Tells choices apart that share a seed.
    """
    order = shuffled(len(images), seed, stream)
    if sampling == "random" or number == len(images):
        return np.sort(order[:number])
    return np.sort(_stratified(images, number, order))


def shuffled(number: int, seed: int, stream: int) -> np.ndarray:
    """Return 0, 1, ... in random order; built on the raw stream, which NumPy promises never to change."""
    return np.argsort(np.random.PCG64([seed, stream]).random_raw(number), kind="stable")


@dataclass(frozen=True)
class _Counts:
    """Sparse matrix: how much each image adds to each count, in multiples of 1/UNIT.

    Counted are boxes by class and size, boxes by class, images by class, and images by number of boxes.
    """

    starts: np.ndarray  # first entry of each image's row; no row is empty
    column: np.ndarray
    value: np.ndarray
    columns: int

    def dense(self, rows: np.ndarray) -> np.ndarray:
        lengths = np.append(self.starts, len(self.column))[rows + 1] - self.starts[rows]
        line = np.repeat(np.arange(len(rows)), lengths)
        entry = np.repeat(self.starts[rows] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        table = np.zeros((len(rows), self.columns))
        table[line, self.column[entry]] = self.value[entry]
        return table


def _count(images: LabelledImages) -> _Counts:
    classes, cells = len(images.class_names), len(images.class_names) * len(SIZES)
    image, category, size = (a[images.kept] for a in (images.image, images.category, images.size))
    by_cell = _tally(image, category * len(SIZES) + size, cells)
    by_class = _tally(image, category, classes)
    shown = (by_class[0], by_class[1], np.ones_like(by_class[2]))
    bins = (np.arange(len(images)), np.digitize(images.boxes_per_image, BOX_BINS), np.ones(len(images)))
    offsets = (0, cells, cells + classes, cells + 2 * classes)
    tables = (by_cell, by_class, shown, bins)
    row = np.concatenate([table[0] for table in tables])
    column = np.concatenate([table[1] + offset for table, offset in zip(tables, offsets, strict=True)])
    value = np.concatenate([table[2] for table in tables]) * UNIT
    order = np.argsort(row, kind="stable")
    starts = np.searchsorted(row[order], np.arange(len(images)))
    return _Counts(starts, column[order], value[order].astype(float), offsets[-1] + len(BOX_BINS) + 1)


def _tally(group: np.ndarray, kind: np.ndarray, kinds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return group, kind and count of every pair that occurs."""
    key, count = np.unique(group * kinds + kind, return_counts=True)
    return key // kinds, key % kinds, count


def _stratified(images: LabelledImages, number: int, order: np.ndarray) -> np.ndarray:
    counts = _count(images)
    locked = _rare_classes(images, number, order)
    chosen = np.zeros(len(images), bool)
    chosen[locked] = True
    rest = order[~chosen[order]]
    chosen[rest[: number - len(locked)]] = True
    free = np.ones(len(images), bool)
    free[locked] = False
    _swap(counts, chosen, free, order)
    return np.flatnonzero(chosen)


def _rare_classes(images: LabelledImages, number: int, order: np.ndarray) -> np.ndarray:
    """Return images that show every rare class, within half of the number to choose.

    Of the images of a class one with its usual number of boxes is taken.
    """
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    category, image, boxes = _tally(images.category[images.kept], images.image[images.kept], len(images))
    showing = np.bincount(category, minlength=len(images.class_names))
    rare = np.flatnonzero((showing > 0) & (showing * number < RARE * len(images)))
    taken: list[int] = []
    for wanted in rare[np.argsort(showing[rare], kind="stable")]:
        candidates, shown = image[category == wanted], boxes[category == wanted]
        if len(taken) < number // 2 and not set(taken) & set(candidates.tolist()):
            unusual = np.abs(shown - np.sort(shown)[len(shown) // 2])
            taken.append(int(candidates[np.lexsort((place[candidates], unusual))[0]]))
    return np.array(taken, np.int64)


def _swap(counts: _Counts, chosen: np.ndarray, free: np.ndarray, order: np.ndarray) -> None:
    """Swap images in and out of `chosen` while a swap lowers the weighted squared error of the counts."""
    row = np.repeat(np.arange(len(chosen)), np.diff(np.append(counts.starts, len(counts.column))))
    total = np.bincount(counts.column, counts.value, counts.columns)
    number = int(chosen.sum())
    target = np.array([(2 * int(t) * number + len(chosen)) // (2 * len(chosen)) for t in total], float)
    weight = WEIGHT * UNIT // np.maximum(target, UNIT)
    excess = np.bincount(counts.column[chosen[row]], counts.value[chosen[row]], counts.columns) - target
    square = np.add.reduceat(weight[counts.column] * counts.value**2, counts.starts)
    for _ in range(MAX_ROUNDS):
        linear = np.add.reduceat((2 * weight * excess)[counts.column] * counts.value, counts.starts)
        leaving = _best(square - linear, chosen & free, order)
        joining = _best(square + linear, ~chosen, order)
        swaps = _swaps_within(counts.dense(leaving), counts.dense(joining), weight, excess)
        if not swaps:
            return
        out, into = np.array(swaps).T
        chosen[leaving[out]], chosen[joining[into]] = False, True
        order = np.roll(order, len(order) // 7)  # so that other images are compared among equals


def _best(error: np.ndarray, allowed: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the images whose move lowers the error most, and as many from the front of the order."""
    ranked = order[allowed[order]]
    first = ranked[: POOL // 4]
    best = ranked[np.argsort(error[ranked], kind="stable")[: POOL - len(first)]]
    return np.unique(np.concatenate([best, first]))


def _swaps_within(
    leaving: np.ndarray, joining: np.ndarray, weight: np.ndarray, excess: np.ndarray
) -> list[tuple[int, int]]:
    """Return the best swaps between two pools, one after the other; `excess` (counts minus targets) is kept current."""
    if not len(leaving) or not len(joining):
        return []
    cross = 2 * (leaving * weight) @ joining.T
    out = (weight * (leaving**2 - 2 * excess * leaving)).sum(1)
    into = (weight * (joining**2 + 2 * excess * joining)).sum(1)
    closed = np.zeros_like(cross)
    swaps: list[tuple[int, int]] = []
    while True:
        change = out[:, None] + into - cross + closed
        i, j = np.unravel_index(np.argmin(change), change.shape)
        if not change[i, j] < 0:
            return swaps
        swaps.append((int(i), int(j)))
        step = joining[j] - leaving[i]
        excess += step
        out -= 2 * leaving @ (weight * step)
        into += 2 * joining @ (weight * step)
        closed[i, :] = closed[:, j] = np.inf
