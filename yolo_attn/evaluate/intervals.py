"""Compute confidence intervals and tests for a difference that varies over seeds and over images.

A difference is measured with ``S`` seeds on the same ``N`` images. Its variance has a part from the seeds, known by few
degrees of freedom, and a part from the images, estimated by a bootstrap. The error of the mean is then the sum of two
Student variables, one for each part, as in the problem of Behrens and Fisher; see ``docs/statistics.md``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.special import erfc, stdtr

from yolo_attn.evaluate.spread import Spread, of_sample, scaled_chi_squared

MOST_FLIPS = 16
"""Largest number of seeds for which all sign flips are tried; beyond it, a sample is drawn."""

LEAST_P = 1e-9
"""Smallest p-value that is told apart from 0."""

LEAST_LEFT = 0.5
"""Least share of the variance of replicates that is left without its excess: for no number of images with a class does
:func:`~yolo_attn.evaluate.rare.factors` leave less than 0.53, so that less is chance."""

_SAMPLED_FLIPS = 20_000
_NEGLIGIBLE = 1e-18  # probability, far below LEAST_P


@dataclass(frozen=True)
class Uncertainty:
    """Variance of the mean difference over ``seeds`` seeds on ``images`` images.

    Attributes:
        seeds: Number of seeds.
        images: Number of images.
        seed_variance: Variance of the mean due to the choice of seeds; 0 for one seed, where it is unknown.
        image_variance: Variance of the mean due to the choice of images, shared by all seeds.
        spread: How well ``seed_variance`` is known; as by a sample of ``seeds`` by default.
        image_df: Degrees of freedom by which ``image_variance`` is known, ``images - 1`` by default; see
            :func:`~yolo_attn.evaluate.rare.image_df`.
    """

    seeds: int
    images: int
    seed_variance: float
    image_variance: float
    spread: Spread | None = None
    image_df: float | None = None

    @classmethod
    def of(
        cls,
        by_seed: np.ndarray,
        replicates: np.ndarray,
        images: int,
        excess: np.ndarray | None = None,
        image_df: float | None = None,
    ) -> Uncertainty:
        """Estimate both variances.

        The variance between seeds includes the interaction of seed and images. The variance due to the images that all
        seeds share is the covariance between seeds over the replicates, so nothing is counted twice.

        Args:
            by_seed: Difference by seed on all images. Shape ``(S,)``.
            replicates: Difference by bootstrap sample and seed, with the same samples for all seeds. Shape ``(R, S)``.
            images: Number of images.
            excess: Values by bootstrap sample and seed whose variances and covariances those of ``replicates`` contain
                but should not, see :mod:`yolo_attn.evaluate.rare`. Shape ``(R, S)``.
            image_df: Degrees of freedom of the variance due to the images; ``images - 1`` by default.
        """
        seeds = len(by_seed)
        by_images = _shared(replicates, images)
        if excess is not None:
            by_images = max(by_images - _shared(excess, images), LEAST_LEFT * by_images)
        by_seeds = float(np.var(by_seed, ddof=1)) / seeds if seeds > 1 else 0.0
        return cls(seeds, images, by_seeds, max(0.0, by_images), None, image_df)

    @property
    def se(self) -> float:
        """Standard error of the mean difference."""
        return math.sqrt(self.seed_variance + self.image_variance)

    @property
    def seed_share(self) -> float:
        """Share of the variance that is due to the seeds."""
        return self.seed_variance / (self.seed_variance + self.image_variance) if self.se else 0.0

    @property
    def df(self) -> float:
        """Degrees of freedom by which the variance between seeds is known."""
        return self.seeds - 1 if self.spread is None else self.spread.df

    def with_spread(self, spread: Spread) -> Uncertainty:
        """Return the uncertainty with another knowledge of the variance between seeds."""
        spread = spread.times(1 / self.seeds)
        return replace(self, seed_variance=spread.variance, spread=spread)

    def tail(self, t: float) -> float:
        """Return the probability that (mean difference - true difference) / se is at least ``t`` in absolute value."""
        if self.seeds == 1 or self.seed_variance == 0:
            return float(2 * stdtr(self._image_df, -t))
        if self.image_variance == 0 and self.spread is None:
            return float(2 * stdtr(self.df, -t))
        factors, weights = self._errors
        return float(weights @ erfc(t * factors))

    @property
    def _image_df(self) -> float:
        return self.images - 1 if self.image_df is None else self.image_df

    @cached_property
    def _errors(self) -> tuple[np.ndarray, np.ndarray]:
        """``se`` over sqrt(2) times each standard error that is possible, and the probability of each."""
        seeds = self.spread or of_sample(self.seed_variance, self.df)
        images = scaled_chi_squared(self._image_df if self.image_variance else math.inf)
        variance = seeds.values[:, None] + self.image_variance / images.values
        weights = np.outer(seeds.weights, images.weights)
        possible = weights > _NEGLIGIBLE
        return self.se / np.sqrt(2 * variance[possible]), weights[possible]

    def quantile(self, probability: float) -> float:
        """Return the quantile of (mean difference - true difference) / se, for a probability of at least 0.5."""
        wanted, least, most = 2 * (1 - probability), 1.0, 4.0
        if wanted >= 1:
            return 0.0
        while self.tail(least) < wanted:
            least /= 4
        while self.tail(most) > wanted:
            most *= 4

        def excess(log: float) -> float:  # nearly a straight line, so that few steps are enough
            return math.log(self.tail(math.exp(log)) / wanted)

        return math.exp(brentq(excess, math.log(least), math.log(most), xtol=1e-12, rtol=1e-12))

    def interval(self, estimate: float, level: float) -> tuple[float, float]:
        """Return the two-sided confidence interval at a level, e.g. 0.95."""
        half = self.quantile((1 + level) / 2) * self.se if self.se else 0.0
        return estimate - half, estimate + half

    def p_value(self, estimate: float) -> float:
        """Return the two-sided p-value, at least ``LEAST_P``: 1 minus the level of the interval that just reaches 0."""
        if estimate == 0:
            return 1.0
        return max(self.tail(abs(estimate) / self.se), LEAST_P) if self.se else LEAST_P

    def detectable(self, level: float = 0.95, power: float = 0.8) -> float:
        """Return the smallest true difference that is significant with a probability of ``power``."""
        return (self.quantile((1 + level) / 2) + self.quantile(power)) * self.se

    def with_seeds(self, seeds: int) -> Uncertainty:
        """Return the uncertainty with another number of seeds of the same spread."""
        variance = self.seed_variance * self.seeds / seeds
        if self.spread is None or not variance:
            return replace(self, seeds=seeds, seed_variance=variance, spread=None)
        spread = of_sample(variance, max(self.df, self.seeds - 1) * (seeds - 1) / (self.seeds - 1))
        return replace(self, seeds=seeds, seed_variance=variance, spread=spread)

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


def _shared(replicates: np.ndarray, images: int) -> float:
    """Return the variance over images that all seeds share: the mean covariance of two, or the variance of one."""
    seeds = replicates.shape[1]
    covariance = np.cov(replicates.T, ddof=1).reshape(seeds, seeds) * images / (images - 1)
    if seeds == 1:
        return float(covariance[0, 0])
    return float((covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1)))


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
