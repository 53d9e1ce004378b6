"""Divergence between the box distributions of a subset and of the whole set."""

from __future__ import annotations

import numpy as np

from yolo_attn.subset.labelled_images import LabelledImages
from yolo_attn.subset.sampling import BOX_BINS, choose

RANDOM_DRAWS = 20
MEASURES = ("class", "class_size", "boxes_per_image", "max_class_error")


def jensen_shannon(counts: np.ndarray, other: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two distributions given as counts, in bits: 0 same, 1 disjoint."""
    p, q = (np.ravel(c) / max(np.sum(c), 1) for c in (counts, other))
    middle = (p + q) / 2

    def to_middle(r: np.ndarray) -> float:
        seen = r > 0
        return float((r[seen] * np.log2(r[seen] / middle[seen])).sum())

    return max(0.0, (to_middle(p) + to_middle(q)) / 2)


def divergence(part: LabelledImages, whole: LabelledImages) -> dict[str, float]:
    """Compare a part with the whole.

    Returns:
        Jensen-Shannon divergences in bits of the boxes by class, by class and size, and of the images by number of
        boxes; and the largest relative error of a class's share of the boxes (1.0: a class is missing, or has twice
        its share).
    """
    mine, all_counts = part.counts(), whole.counts()
    return {
        "class": jensen_shannon(mine.sum(1), all_counts.sum(1)),
        "class_size": jensen_shannon(mine, all_counts),
        "boxes_per_image": jensen_shannon(_box_bins(part), _box_bins(whole)),
        "max_class_error": float(np.abs(class_errors(mine.sum(1), all_counts.sum(1))).max(initial=0)),
    }


def class_errors(counts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return the relative error of each class's share of the boxes; 0 for classes that the whole lacks."""
    share, expected = counts / max(counts.sum(), 1), whole / max(whole.sum(), 1)
    return np.divide(share - expected, expected, out=np.zeros(len(whole)), where=expected > 0)


def random_divergence(whole: LabelledImages, number: int, seed: int) -> dict[str, float]:
    """Return the mean divergences of random parts of this size."""
    draws = [divergence(whole.take(choose(whole, number, "random", seed, 100 + k)), whole) for k in range(RANDOM_DRAWS)]
    return {measure: sum(draw[measure] for draw in draws) / len(draws) for measure in MEASURES}


def _box_bins(images: LabelledImages) -> np.ndarray:
    return np.bincount(np.digitize(images.boxes_per_image, BOX_BINS), minlength=len(BOX_BINS) + 1)
