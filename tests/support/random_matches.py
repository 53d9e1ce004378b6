"""Random matches, and Ultralytics' own evaluation of them when images are repeated."""

from __future__ import annotations

import numpy as np
from ultralytics.utils.metrics import ap_per_class

from yolo_attn.evaluate.matches import Matches


def random_matches(seed, images, classes, detections, targets, thresholds=4):
    """Random matches: a target is found once at most at each threshold; confident detections are right more often."""
    rng = np.random.default_rng(seed)
    image, cls = rng.integers(0, images, detections), rng.integers(0, classes, detections)
    target_image, target_cls = rng.integers(0, images, targets), rng.integers(0, classes, targets)
    confidence = rng.integers(0, 200, detections) / 200 if seed % 2 else rng.random(detections)  # with and without ties
    quality = rng.random(detections) * confidence**0.3
    correct = np.zeros((detections, thresholds), bool)
    for t in range(thresholds):
        left = {}
        for key in zip(target_image, target_cls, strict=True):
            left[key] = left.get(key, 0) + 1
        for d in np.argsort(-confidence, kind="stable"):
            if quality[d] > 0.1 + 0.15 * t and left.get((image[d], cls[d]), 0):
                left[image[d], cls[d]] -= 1
                correct[d, t] = True
    return Matches(images, image, cls, confidence, correct, target_image, target_cls)


def evaluated_again(matches, weights):
    """Ultralytics' own evaluation of the drawn images, each repeated as often as it was drawn."""
    order = np.argsort(-matches.confidence, kind="stable")
    kept = np.repeat(order, weights[matches.image[order]])
    falling = -np.arange(len(kept), dtype=float)  # the order of ties is settled, as it decides which is counted first
    targets = np.repeat(matches.target_cls, weights[matches.target_image])
    found = np.full((len(matches.classes), matches.correct.shape[1]), np.nan)
    ap, classes = ap_per_class(matches.correct[kept].astype(float), falling, matches.cls[kept], targets)[5:7]
    found[np.searchsorted(matches.classes, classes)] = ap
    return found
