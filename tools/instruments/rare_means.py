"""Count false verdicts where classes are rare and differ by chance: ``python tools/check_rare_classes.py --means``.

The value of a class is a mean over its objects, as AP is nearly, so that thousands of comparisons take minutes. Nothing
differs, and all variance is that of the images, as where models were trained once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

from instruments.rare_classes import Kind
from yolo_attn.evaluate.bootstrap import draw_images
from yolo_attn.evaluate.intervals import Uncertainty
from yolo_attn.evaluate.rare import image_df, stretched_mean
from yolo_attn.util.markdown import table

REPLICATES, AGAIN = 300, 20
SOURCES = ("images", "objects", "classes in images")
LEVELS = (0.05, 0.05 / 12)
"""Levels of the test of one arm alone, and of the first of 12 by Holm's method."""


def p_values(kind: Kind, number: int) -> tuple[float, np.ndarray]:
    """Draw a set of images, and compare two models on it many times.

    Returns:
        Degrees of freedom of the variance of the images, and p values, by source, of ``AGAIN`` comparisons, with one
        less than the number of images and with those degrees of freedom. Shape ``(sources, AGAIN, 2)``.
    """
    rng = np.random.default_rng([11, number])
    scene = kind.scene(rng)
    classes, cls = np.unique(scene.target_cls, return_inverse=True)
    targets = np.zeros((kind.images, len(classes)))
    np.add.at(targets, (scene.target_image, cls), 1)
    weights = np.concatenate([np.ones((1, kind.images)), draw_images(kind.images, REPLICATES, number)])
    drawn, images_with = weights @ targets, (targets > 0).sum(0)
    df = image_df(scene.target_image, scene.target_cls, kind.images)
    found = np.empty((len(SOURCES), AGAIN, 2))
    for s, a in np.ndindex(len(SOURCES), AGAIN):
        by_object, by_pair = np.sqrt(targets) * rng.normal(size=targets.shape), rng.normal(size=targets.shape)
        by_image = rng.normal(size=(kind.images, 1))
        values = (targets * by_image, by_object, targets * by_pair)[s]
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates, excess = stretched_mean(weights @ values / drawn, images_with, kind.images)
        variance = Uncertainty.of(replicates[:1], replicates[1:, None], kind.images, excess[1:, None])
        with np.errstate(divide="ignore"):
            found[s, a] = 2 * stdtr([kind.images - 1, df], -abs(replicates[0]) / np.float64(variance.se))
    return df, found


def to_markdown(sets: int, kinds: Sequence[Kind]) -> str:
    """Return a table of the share of false verdicts; each set of images is used ``AGAIN`` times for each source."""
    rows = []
    for kind in kinds:
        df, found = zip(*(p_values(kind, number) for number in range(sets)), strict=True)
        p = np.array(found)
        for s, source in enumerate(SOURCES):
            cells = [f"{100 * (p[:, s, :, way] < level).mean():.2f}" for level in LEVELS for way in (0, 1)]
            rows.append([str(kind), source, f"{np.median(df):.0f}", *cells])
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    head = ["set", "variance from", "median degrees of freedom"]
    ways = ("images - 1", "these degrees of freedom")
    return "\n".join(table([*head, *(f"{100 * level:.2f} % wanted, {way}" for level in LEVELS for way in ways)], rows))
