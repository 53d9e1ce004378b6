"""Compute confidence intervals and tests for a difference that varies over seeds and over images.

A difference is measured with ``S`` seeds on the same ``N`` images. Its variance has a part from the seeds, estimated
from ``S`` values, and a part from the images, estimated by a bootstrap. The quantile for both together lies between
those of Student's t with ``S - 1`` and with ``N - 1`` degrees of freedom; see ``docs/statistics.md``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

SHARE_EXPONENT = 1.25
"""Exponent of the seeds' share of variance in the quantile; chosen for coverage, by simulation."""

MOST_FLIPS = 16
"""Largest number of seeds for which all sign flips are tried; beyond it, a sample is drawn."""

_SAMPLED_FLIPS = 20_000
_NEARLY_NORMAL = 10_000  # degrees of freedom
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(200)


@dataclass(frozen=True)
class Uncertainty:
    """Variance of the mean difference over ``seeds`` seeds on ``images`` images.

    Attributes:
        seeds: Number of seeds.
        images: Number of images.
        seed_variance: Variance of the mean due to the choice of seeds; 0 for one seed, where it is unknown.
        image_variance: Variance of the mean due to the choice of images, shared by all seeds.
    """

    seeds: int
    images: int
    seed_variance: float
    image_variance: float

    @classmethod
    def of(cls, by_seed: np.ndarray, replicates: np.ndarray, images: int) -> Uncertainty:
        """Estimate both variances.

        The variance between seeds includes the interaction of seed and images. The variance due to the images that all
        seeds share is the covariance between seeds over the replicates, so nothing is counted twice.

        Args:
            by_seed: Difference by seed on all images. Shape ``(S,)``.
            replicates: Difference by bootstrap sample and seed, with the same samples for all seeds. Shape ``(R, S)``.
            images: Number of images.
        """
        seeds = len(by_seed)
        covariance = np.cov(replicates.T, ddof=1).reshape(seeds, seeds) * images / (images - 1)
        if seeds == 1:
            return cls(1, images, 0.0, float(covariance[0, 0]))
        shared = (covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))
        return cls(seeds, images, float(np.var(by_seed, ddof=1)) / seeds, max(0.0, float(shared)))

    @property
    def se(self) -> float:
        """Standard error of the mean difference."""
        return math.sqrt(self.seed_variance + self.image_variance)

    @property
    def seed_share(self) -> float:
        """Share of the variance that is due to the seeds."""
        return self.seed_variance / (self.seed_variance + self.image_variance) if self.se else 0.0

    def quantile(self, probability: float) -> float:
        """Return the quantile of (mean difference - true difference) / se, for a probability of at least 0.5."""
        by_images = student_quantile(probability, self.images - 1)
        if self.seeds == 1:
            return by_images
        weight = self.seed_share**SHARE_EXPONENT
        by_seeds = student_quantile(probability, self.seeds - 1)
        return float((1 - weight) * by_images + weight * by_seeds)

    def interval(self, estimate: float, level: float) -> tuple[float, float]:
        """Return the two-sided confidence interval at a level, e.g. 0.95."""
        half = self.quantile((1 + level) / 2) * self.se
        return estimate - half, estimate + half

    def p_value(self, estimate: float) -> float:
        """Return the two-sided p-value, at least 1e-9: 1 minus the level of the interval that just reaches 0."""
        if estimate == 0:
            return 1.0
        low, high = math.log(1e-9), 0.0
        for _ in range(50):
            middle = (low + high) / 2
            reaches_zero = self.quantile(1 - math.exp(middle) / 2) * self.se >= abs(estimate)
            low, high = (middle, high) if reaches_zero else (low, middle)
        return math.exp(high)

    def detectable(self, level: float = 0.95, power: float = 0.8) -> float:
        """Return the smallest true difference that is significant with a probability of ``power``."""
        return (self.quantile((1 + level) / 2) + self.quantile(power)) * self.se

    def with_seeds(self, seeds: int) -> Uncertainty:
        """Return the uncertainty with another number of seeds of the same spread."""
        return Uncertainty(seeds, self.images, self.seed_variance * self.seeds / seeds, self.image_variance)

    def seeds_to_detect(
        self, difference: float, level: float = 0.95, power: float = 0.8, most: int = 1000
    ) -> int | None:
        """Return the number of seeds that detect a true difference with ``power``; ``None`` beyond ``most``."""
        if self.seeds == 1 or self.with_seeds(most).detectable(level, power) > difference:
            return None
        few, many = 1, most
        while many - few > 1:
            middle = (few + many) // 2
            enough = self.with_seeds(middle).detectable(level, power) <= difference
            few, many = (few, middle) if enough else (middle, many)
        return many


def sign_flip_test(differences: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Test paired differences, one per seed, by a permutation test that flips their signs.

    Args:
        differences: The paired differences.
        seed: Seed of the sample of flips, drawn for more than ``MOST_FLIPS`` differences.

    Returns:
        The two-sided p-value, and the smallest that this number of differences can give.
    """
    values = np.asarray(differences, float)
    if len(values) <= MOST_FLIPS:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(values))))
        extra, floor = 0, 2 / len(signs)
    else:
        signs = np.random.default_rng(seed).choice((-1, 1), (_SAMPLED_FLIPS, len(values)))
        extra, floor = 1, 1 / (_SAMPLED_FLIPS + 1)
    observed = abs(values.sum())
    as_extreme = int(np.count_nonzero(np.abs(signs @ values) >= observed - 1e-12 * np.abs(values).sum()))
    return (as_extreme + extra) / (len(signs) + extra), floor


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's method, in the same order."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def student_cdf(t: float, df: int) -> float:
    """Return the distribution function of Student's t with ``df`` degrees of freedom, for ``t`` of at least 0."""
    angle = math.atan(t / math.sqrt(df))
    inner = (_NODE_WEIGHTS @ np.cos((_NODES + 1) / 2 * angle) ** (df - 1)) * angle / 2
    return 0.5 + _height(df) * math.sqrt(df) * float(inner)


@lru_cache(maxsize=10_000)
def student_quantile(probability: float, df: int) -> float:
    """Return the quantile of Student's t with ``df`` degrees of freedom, for a probability of at least 0.5."""
    t = max(NormalDist().inv_cdf(probability), 0.0)
    if df > _NEARLY_NORMAL:
        return t
    for _ in range(200):
        density = _height(df) * (1 + t * t / df) ** (-(df + 1) / 2)
        step = (probability - student_cdf(t, df)) / density
        t += step  # from below, never past the root
        if step <= 1e-13 * t:
            break
    return t


@lru_cache(maxsize=1000)
def _height(df: int) -> float:
    """Return the density of Student's t at 0."""
    return math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
