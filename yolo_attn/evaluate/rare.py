"""Correct the variance of a mean over classes, by the bootstrap, for classes that are in few images.

A class that is in ``n`` images occurs in a bootstrap sample any number of times, possibly never. The bootstrap then
finds too little of its variance, and of its covariance with the classes that are in the same images; with one image it
finds none. The factors by which they are too small are known where AP behaves like a mean over the images with the
class. A class absent from a sample is taken to be like the mean over all, so that leaving it out shows how much it
matters; then deviations are stretched until covariances are right, and what this adds too much to the variance of each
class is subtracted. ``docs/statistics.md`` has the measured coverage.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.stats import binom


class Factors(NamedTuple):
    """Factors by which the bootstrap finds too little for one class, at least 1.

    Attributes:
        variance: Of the variance of its part in the mean.
        covariance: Of the covariance of its part with that of a class in other images too.
    """

    variance: float
    covariance: float


@lru_cache(maxsize=10_000)
def factors(images_with: int, images: int, classes: int) -> Factors:
    """Return the factors of a class, relative to those of a class that is in all images.

    Args:
        images_with: Number of images ``n`` that have a target of the class.
        images: Number of images, at least 2.
        classes: Number of classes.
    """
    drawn = np.arange(1, images + 1)
    inverse = float(binom.pmf(drawn, images, images_with / images) @ (1 / drawn))  # of the number drawn; 0 for none
    absent = (1 - images_with / images) ** images
    own = (images_with - 1) * inverse + absent * (1 - absent) * (classes - 1) / classes
    shared = 1 - (1 - absent) / images_with
    known = (images - 1) / images
    variance = max(1.0, known / own) if own else 1.0
    return Factors(variance, max(1.0, known / shared) if classes > 1 else math.sqrt(variance))


def image_df(target_image: np.ndarray, target_cls: np.ndarray, images: int) -> float:
    """Return the degrees of freedom by which the variance of mAP due to the images is known, at least 1.

    An image counts for a class by its share of the targets, and for the mean by the sum of these, each stretched by the
    square root of its :attr:`Factors.variance`. A sum of squares of normal effects with these weights ``w`` varies like
    chi-squared with ``(sum of w ** 2) ** 2 / (sum of w ** 4)`` degrees of freedom, as in Satterthwaite's approximation;
    the mean takes one of them. Where all images count alike, this is ``images - 1``; where classes are rare, or objects
    are crowded in few images, it is far less.

    Args:
        target_image: Image of each target. Shape ``(G,)``.
        target_cls: Class of each target. Shape ``(G,)``.
        images: Number of images, at least 2.

    References:
        Satterthwaite, An Approximate Distribution of Estimates of Variance Components, 1946,
        https://doi.org/10.2307/3002019.
    """
    pairs, targets = np.unique(np.stack([target_cls, target_image]), axis=1, return_counts=True)
    _, cls = np.unique(pairs[0], return_inverse=True)
    images_with, targets_of = np.bincount(cls), np.bincount(cls, targets)
    stretch = np.sqrt([factors(int(n), images, len(images_with)).variance for n in images_with])
    squared = np.bincount(pairs[1].astype(int), stretch[cls] * targets / targets_of[cls]) ** 2
    return max(1.0, float(squared.sum() ** 2 / (squared**2).sum()) - 1)


def stretched_mean(ap: np.ndarray, images_with: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return replicates of the mean AP over classes, from which its variance is found.

    The variance, over samples, of the first minus that of the second is ``(images - 1) / images`` times the right one.
    Both are linear in ``ap``, so the same holds for differences of runs on the same samples.

    Args:
        ap: AP by class, on all images (index 0) and on each sample; NaN where a sample has no target of the class.
            Shape ``(1 + R, C)``.
        images_with: Number of images that have a target of each class. Shape ``(C,)``.
        images: Number of images.

    Returns:
        The mean on all images (index 0) and stretched replicates, and the excess: its variance over samples is what
        stretching adds too much to the variances of the classes. Random signs, the same for all runs, keep covariances
        out of it. Shape ``(1 + R,)`` each.
    """
    samples, classes = len(ap) - 1, ap.shape[1]
    found = np.array([factors(int(n), images, classes) for n in images_with])
    mean = ap[0].mean()
    deviations = np.where(np.isnan(ap), mean, ap) - ap[0]
    excess = np.sqrt(np.maximum(found[:, 1] ** 2 - found[:, 0], 0))
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (samples, classes))
    signed = np.append(np.zeros((1, classes)), (deviations[1:] - deviations[1:].mean(0)) * signs, axis=0)
    return mean + deviations @ found[:, 1] / classes, signed @ excess / classes
