"""Estimate the variance between seeds of several arms, each with the help of the others.

Two or three seeds say little about an arm's spread, but several arms of one comparison say much about the spread that
such models have. The model: the sample variance of an arm is its true variance times chi-squared over its degrees of
freedom; the logarithms of the true variances are normal over the arms, with any mean, and with a standard deviation
that is itself unknown and half-normal. So an arm's spread is drawn towards that of the others as far as they are alike,
and no further. For one arm nothing is assumed: its variance is the sample's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

HETEROGENEITY = 1.0
"""Scale of the half-normal prior of the standard deviation, over arms, of the logarithm of the variance."""

SHARED_BY_ARMS = 0.25
"""Correlation of the sample variances of two arms, whose differences to one baseline share half of their variance."""

_MANY = 2000  # degrees of freedom beyond which a variance is taken as known
_STEP = 0.25
_LOG_VARIANCE = np.arange(-20, 20 + _STEP, _STEP)  # around the mean over the arms
_DEVIATIONS = np.arange(0, 4 + _STEP, _STEP)


@dataclass(frozen=True, eq=False)
class Spread:
    """A variance that is not known exactly: possible values, and how probable each is.

    Attributes:
        values: Possible variances.
        weights: Their probabilities, which sum to 1.
    """

    values: np.ndarray
    weights: np.ndarray

    @property
    def variance(self) -> float:
        """The variance with the mean precision (1 / variance): that of the sample, where nothing else is known."""
        return float(1 / (self.weights @ (1 / self.values)))

    @property
    def df(self) -> float:
        """Degrees of freedom of the scaled inverse chi-squared distribution with as certain a precision."""
        relative = self.variance / self.values
        return float(2 / (self.weights @ (relative - 1) ** 2))

    def times(self, factor: float) -> Spread:
        """Return the spread of a quantity whose variance is a multiple of this one."""
        return Spread(self.values * factor, self.weights)


def of_sample(variance: float, df: float) -> Spread:
    """Return what a sample variance says of the true one: scaled inverse chi-squared.

    Args:
        variance: Sample variance.
        df: Its degrees of freedom, more than 0.
    """
    scaled = scaled_chi_squared(df)
    return Spread(variance / scaled.values, scaled.weights)


@lru_cache(maxsize=1000)
def scaled_chi_squared(df: float) -> Spread:
    """Return the distribution of chi-squared over its degrees of freedom."""
    if df > _MANY:
        return Spread(np.ones(1), np.ones(1))
    if df >= 30:
        return _gauss(df, 8 + int(480 / df))
    log = np.linspace(-60 / df - 12 / math.sqrt(df), math.log1p(12 / math.sqrt(df)) + 1, 200 if df < 5 else 70)
    weight = np.exp(df / 2 * (log - np.expm1(log)))
    return Spread(np.exp(log), weight / weight.sum())


def _gauss(df: float, nodes: int) -> Spread:
    """Return the nodes and weights of the Gaussian quadrature (generalized Laguerre) for ``scaled_chi_squared``.

    References:
        Golub, Welsch, Calculation of Gauss Quadrature Rules, 1969, https://doi.org/10.1090/S0025-5718-69-99647-1.
    """
    alpha, k = df / 2 - 1, np.arange(nodes)
    beside = np.sqrt(k[1:] * (k[1:] + alpha))
    values, vectors = np.linalg.eigh(np.diag(2 * k + 1 + alpha) + np.diag(beside, 1) + np.diag(beside, -1))
    return Spread(values * 2 / df, vectors[0] ** 2)


def moderated(variances: Sequence[float], df: Sequence[int]) -> list[Spread]:
    """Return the variance between seeds of every arm, as known from all arms together.

    Args:
        variances: Sample variance of each arm, more than 0.
        df: Degrees of freedom of each: number of seeds minus 1, at least 1.

    References:
        Smyth, Linear Models and Empirical Bayes Methods for Assessing Differential Expression, 2004,
        https://doi.org/10.2202/1544-6115.1027 (variances moderated over many tests).
    """
    if len(variances) == 1:
        return [of_sample(variances[0], df[0])]
    values, weights = moderated_arrays(np.array(variances), np.array(df))
    return [Spread(values, of_arm) for of_arm in weights]


def moderated_arrays(variances: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what :func:`moderated` does, for any number of comparisons at once.

    Args:
        variances: Sample variances. Shape ``(..., arms)``, at least two arms.
        df: Degrees of freedom, which broadcast to that shape.

    Returns:
        Possible variances, shape ``(..., values)``, and their probability for each arm, ``(..., arms, values)``.
    """
    center = np.log(variances.mean(-1, keepdims=True))
    ratio = (np.log(variances) - center)[..., None] - _LOG_VARIANCE
    likelihood = np.exp(np.asarray(df)[..., None] / 2 * (ratio - np.exp(ratio) + 1))  # 1 at most
    return np.exp(_LOG_VARIANCE + center), _posteriors(likelihood)


def _posteriors(likelihood: np.ndarray) -> np.ndarray:
    """Return the distribution of every arm's log variance after the data of all arms.

    Args:
        likelihood: Likelihood of each arm's sample, for every log variance. Shape ``(..., arms, values)``.
    """
    *_, arms, values = likelihood.shape
    others = 1 / (1 + SHARED_BY_ARMS * (arms - 2))  # how much of them is information of their own
    of_arm = likelihood.reshape(-1, values)
    found = np.zeros_like(of_arm)
    for deviation, weight in zip(_DEVIATIONS, np.exp(-0.5 * (_DEVIATIONS / HETEROGENEITY) ** 2), strict=True):
        prior = _normal(float(deviation))  # by mean and log variance
        by_mean = np.log(np.maximum(of_arm @ prior.T, 1e-300)).reshape(likelihood.shape)
        by_others = np.exp(others * (by_mean.sum(-2, keepdims=True) - by_mean)).reshape(-1, values)
        found += (weight / 2 if deviation == 0 else weight) * by_others @ prior
    found *= of_arm
    found /= found.sum(1, keepdims=True)
    return found.reshape(likelihood.shape)


@lru_cache(maxsize=len(_DEVIATIONS))
def _normal(deviation: float) -> np.ndarray:
    """Return the normal density of every log variance around every mean; for deviation 0, that mean alone."""
    if not deviation:
        return np.eye(len(_LOG_VARIANCE))
    away = (_LOG_VARIANCE[None] - _LOG_VARIANCE[:, None]) / deviation
    density: np.ndarray = np.exp(-0.5 * away**2) / (deviation * np.sqrt(2 * np.pi) / _STEP)
    return density
