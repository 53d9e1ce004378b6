"""Count false verdicts, coverage and power in simulated comparisons: ``python tools/check_verdicts.py``."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from functools import lru_cache, partial

import numpy as np
from scipy.special import erfc, stdtr

from yolo_attn.evaluate.bootstrap import draw_images
from yolo_attn.evaluate.differences import SIGNIFICANT, Values, difference, differences
from yolo_attn.evaluate.intervals import LEAST_P, holm
from yolo_attn.evaluate.spread import moderated_arrays, scaled_chi_squared
from yolo_attn.util.markdown import table

SEEDS, ARMS, SHARES = (2, 3, 5), (1, 3, 6, 12), (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0)
NOISE = ("normal", "heavy-tailed", "failing")
IMAGES, REPLICATES = 200, 1000

CHECKED, CHECKED_ALONE = 50, 5
"""Comparisons of each cell, at most, that are computed by the package's ``differences`` as well, and by ``difference``
and ``holm``."""

CHUNK = 200
"""Arms computed at once."""

UNEQUAL: Mapping[str, tuple[float, ...]] = {
    "one of six three times": (3, 1, 1, 1, 1, 1),
    "three of six three times": (3, 3, 3, 1, 1, 1),
    "from 0.4 to 2.6 times": (0.4, 0.6, 0.8, 1.2, 1.7, 2.6),
}
"""Spreads of six arms that truly differ."""


@dataclass(frozen=True)
class Comparison:
    """A kind of simulated comparison.

    Attributes:
        seeds: Number of seeds.
        arms: Number of arms beside the baseline.
        share: Share of the seeds in the variance of a mean difference.
        noise: How trainings vary: ``normal``; ``heavy-tailed``, Student's t with 3 degrees of freedom; or ``failing``,
            one of ten loses four standard deviations.
        spreads: Standard deviation of each arm's trainings, as multiple of the baseline's; 1 each by default.
        effect: True difference of the first arm, in standard errors.
    """

    seeds: int
    arms: int
    share: float
    noise: str = "normal"
    spreads: tuple[float, ...] = ()
    effect: float = 0.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Simulated comparisons of a kind.

    Attributes:
        by_seed: Effect of the seeds on the difference of each arm. Shape ``(comparisons, arms, seeds)``.
        by_image: Likewise of the images. Shape ``(comparisons, arms, images)``.
    """

    by_seed: np.ndarray
    by_image: np.ndarray

    @property
    def estimate(self) -> np.ndarray:
        """Mean difference, ``(comparisons, arms)``."""
        mean: np.ndarray = self.by_seed.mean(2) + self.by_image.mean(2)
        return mean

    def values(self, number: int) -> dict[str, Values]:
        """Return the differences of one comparison as the package takes them, with bootstrap replicates."""
        replicates = self.by_image[number] @ _draws().T
        found = self.by_seed[number] + self.by_image[number].mean(1, keepdims=True)
        again = replicates[:, :, None] + self.by_seed[number][:, None]
        return {f"arm {arm}": Values(found[arm], again[arm]) for arm in range(len(found))}


def draw(kind: Comparison, comparisons: int, rng: np.random.Generator) -> Sample:
    """Draw comparisons; the differences of two arms share the baseline's part, of the seeds and of the images."""
    spreads = np.append(kind.spreads or (1.0,) * kind.arms, 1.0)
    trainings = _noise(kind.noise, rng, (comparisons, kind.arms + 1, kind.seeds)) * spreads[:, None]
    by_seed = (trainings[:, :-1] - trainings[:, -1:]) * np.sqrt(kind.share * kind.seeds / 2)
    by_seed[:, 0] += kind.effect
    images = rng.normal(size=(comparisons, kind.arms + 1, IMAGES))
    return Sample(by_seed, (images[:, :-1] - images[:, -1:]) * np.sqrt((1 - kind.share) * IMAGES / 2))


def _noise(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "heavy-tailed":
        return rng.standard_t(3, shape) / np.sqrt(3)
    noise = rng.normal(size=shape)
    if kind == "failing":
        noise = (noise - 4 * (rng.random(shape) < 0.1) + 0.4) / np.sqrt(1 + 16 * 0.09)
    return noise


@lru_cache(maxsize=1)
def _draws() -> np.ndarray:
    """Return the share of each image in each bootstrap sample, as the package draws them."""
    return draw_images(IMAGES, REPLICATES, 0) / IMAGES


@lru_cache(maxsize=1)
def _covariance() -> np.ndarray:
    """Return the matrix of the quadratic form that is the variance of the images, of all replicates."""
    return np.cov(_draws().T) * IMAGES / (IMAGES - 1)


def p_values(kind: Comparison, sample: Sample, together: bool) -> np.ndarray:
    """Return the p value of each arm, ``(comparisons, arms)``, for all comparisons at once.

    Args:
        kind: The kind that the sample is of.
        sample: The comparisons.
        together: Whether the spread of each arm is known with the help of the others, as by ``differences``; else as
            for one arm alone, as by ``difference``.
    """
    error = np.abs(sample.estimate)
    by_images = np.einsum("cai,cai->ca", sample.by_image @ _covariance(), sample.by_image)
    of_seeds, df = sample.by_seed.var(2, ddof=1), kind.seeds - 1
    if kind.share == 0:
        p = 2 * stdtr(IMAGES - 1, -error / np.sqrt(by_images))
    elif kind.share == 1 and (kind.arms == 1 or not together):
        p = 2 * stdtr(df, -error / np.sqrt(of_seeds / kind.seeds))
    else:
        if together and kind.arms > 1:
            possible, weights = moderated_arrays(of_seeds, np.full(kind.arms, df))
            possible = possible[:, None]
        else:
            scaled = scaled_chi_squared(df)
            possible, weights = of_seeds[..., None] / scaled.values, scaled.weights
        images = scaled_chi_squared(IMAGES - 1 if kind.share < 1 else math.inf)
        variance = (possible / kind.seeds)[..., None] + (by_images[..., None] / images.values)[:, :, None]
        p = ((erfc(error[..., None, None] / np.sqrt(2 * variance)) @ images.weights) * weights).sum(-1)
    return np.maximum(p, LEAST_P)


def adjusted(p: np.ndarray) -> np.ndarray:
    """Return p values ``(comparisons, arms)`` adjusted over the arms by Holm's method."""
    order = np.argsort(p, axis=1)
    steps = np.arange(p.shape[1], 0, -1) * np.take_along_axis(p, order, 1)
    found = np.empty_like(p)
    np.put_along_axis(found, order, np.minimum(np.maximum.accumulate(steps, axis=1), 1), 1)
    return found


def check(sample: Sample, together: np.ndarray, alone: np.ndarray, comparisons: int) -> None:
    """Compare p values with those of the package's own ``differences``, and of its ``difference`` and ``holm``.

    Raises:
        AssertionError: If one differs by more than 1e-9, or an interval holds 0 where its p value says it does not.
    """
    for number in range(min(comparisons, len(together))):
        values = sample.values(number)
        found = list(differences(values, IMAGES, power=False).values())
        np.testing.assert_allclose(together[number], [d.p for d in found], rtol=0, atol=1e-9)
        np.testing.assert_allclose(adjusted(together)[number], [d.p_holm for d in found], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(together[number] >= SIGNIFICANT, [d.low <= 0 <= d.high for d in found])
        if number < CHECKED_ALONE:
            each = [difference(v.by_seed, v.replicates, IMAGES) for v in values.values()]
            np.testing.assert_allclose(alone[number], [d.p for d in each], rtol=0, atol=1e-9)
            np.testing.assert_allclose(adjusted(alone)[number], holm([d.p for d in each]), rtol=0, atol=1e-9)
            np.testing.assert_array_equal(alone[number] >= SIGNIFICANT, [d.low <= 0 <= d.high for d in each])


@dataclass(frozen=True)
class Rates:
    """Of the comparisons of a kind, in percent.

    Attributes:
        verdicts: Comparisons with a verdict, which is false where nothing differs.
        held: Intervals that hold 0.
        found: Comparisons in which the first arm is ``better``.
    """

    verdicts: float
    held: float
    found: float

    def __str__(self) -> str:
        return f"{self.verdicts:.1f} ({self.held:.1f})"


def rates(kind: Comparison, comparisons: int, checked: int = 0) -> tuple[Rates, Rates]:
    """Return the rates of arms compared together, as by ``differences``, and of each alone, adjusted by ``holm``."""
    rng = np.random.default_rng(zlib.crc32(repr(astuple(kind)).encode()))
    counts = np.zeros((2, 3))
    for first in range(0, comparisons, size := max(1, CHUNK // kind.arms)):
        sample = draw(kind, min(size, comparisons - first), rng)
        p = [p_values(kind, sample, together) for together in (True, False)]
        check(sample, p[0], p[1], checked if first == 0 else 0)
        for row, of_arms in zip(counts, p, strict=True):
            clear = adjusted(of_arms) < SIGNIFICANT
            better = clear[:, 0] & (sample.estimate[:, 0] > 0)
            row += clear.any(1).sum(), (of_arms >= SIGNIFICANT).mean(1).sum(), better.sum()
    together, alone = (Rates(*(100 * row / comparisons).tolist()) for row in counts)
    return together, alone


def table_of(head: Sequence[str], found: Mapping[tuple[object, ...], Sequence[Rates]], power: bool = False) -> str:
    """Return a table of rates, one column for each number of arms."""
    rows = [[*map(str, of), *(f"{r.found:.0f}" if power else str(r) for r in cells)] for of, cells in found.items()]
    return "\n".join(table([*head, "seeds", *(f"{n} arm{'s' if n > 1 else ''}" for n in ARMS)], rows))


def summary(found: Iterable[tuple[Comparison, Rates]], comparisons: int) -> str:
    """Return sentences on the share of false verdicts over all cells."""
    cells = list(found)
    rate = np.array([r.verdicts for _, r in cells])
    limits = [(bound, 1.96 * 100 * math.sqrt(bound / 100 * (1 - bound / 100) / comparisons)) for bound in (4, 6)]
    (low, below), (high, above) = limits
    most, least = cells[int(rate.argmax())], cells[int(rate.argmin())]
    return (
        f"{len(cells)} cells: mean {rate.mean():.2f} %, smallest {least[1].verdicts:.1f} % ({_name(least[0])}), "
        f"largest {most[1].verdicts:.1f} % ({_name(most[0])}). Below {low} %: {np.sum(rate < low)}, beyond Monte-Carlo "
        f"error ({low - below:.2f}): {np.sum(rate < low - below)}. Above {high} %: {np.sum(rate > high)}, beyond it "
        f"({high + above:.2f}): {np.sum(rate > high + above)}. Above 5 %: {np.sum(rate > 5)}."
    )


def _name(kind: Comparison) -> str:
    return f"{kind.noise}, share {kind.share}, {kind.seeds} seeds, {kind.arms} arm{'s' if kind.arms > 1 else ''}"


def to_markdown(comparisons: int, checked: int = CHECKED, processes: int | None = None) -> str:
    """Simulate all kinds of comparisons, and return the tables."""
    rows = [*itertools.product(NOISE, SHARES, SEEDS)]
    null = {(*row, n): Comparison(row[2], n, row[1], row[0]) for row in rows for n in ARMS}
    unequal = {
        (name, s): Comparison(s, 6, 0.95, spreads=UNEQUAL[name]) for name, s in itertools.product(UNEQUAL, SEEDS)
    }
    strong = {(r, s, n): Comparison(s, n, r, effect=4.0) for r in (0.5, 0.95) for s in SEEDS for n in ARMS}
    kinds = sorted({*null.values(), *unequal.values(), *strong.values()}, key=lambda k: -k.arms)
    found = {}
    of_kind = partial(rates, comparisons=comparisons, checked=checked)
    with ProcessPoolExecutor(processes) as pool:
        for kind, both in zip(kinds, pool.map(of_kind, kinds), strict=True):
            found[kind] = both
            print(len(found), "of", len(kinds), kind, *both, file=sys.stderr, flush=True)
    sections = []
    for way, title in enumerate(("arms together, `differences`", "each arm alone, `difference` and `holm`")):
        sections.append(f"{title}: {summary([(k, found[k][way]) for k in null.values()], comparisons)}")
        for noise in NOISE:
            cells = {row[1:]: [found[null[(*row, n)]][way] for n in ARMS] for row in rows if row[0] == noise}
            sections.append(table_of([f"{noise}, {title}; share of the seeds"], cells))
    head = ["spread of six arms, share 0.95", "seeds", "together", "each alone"]
    of_six = [[name, str(seeds), *map(str, found[kind])] for (name, seeds), kind in unequal.items()]
    sections.append("\n".join(table(head, of_six)))
    for way, title in enumerate(("together", "each alone")):
        cells = {(r, s): [found[strong[r, s, n]][way] for n in ARMS] for r in (0.5, 0.95) for s in SEEDS}
        head = [f"a true difference of 4 standard errors, arms {title}; share"]
        sections.append(table_of(head, cells, power=True))
    return "\n\n".join(sections)


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/check_verdicts.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparisons", nargs="?", type=int, default=2000, help="comparisons for each cell")
    parser.add_argument("--checked", type=int, default=CHECKED, help="of them, computed by the package as well")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(words)
    print(to_markdown(given.comparisons, given.checked, given.processes))
