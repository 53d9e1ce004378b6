"""Count false verdicts, coverage and power in simulated comparisons: ``python tools/check_verdicts.py``."""

from __future__ import annotations

import argparse
import math
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache

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
        noise: How trainings vary: ``normal``; ``heavy-tailed``, Student's t with 3 degrees of freedom; or ``failing``,
            one of ten loses four standard deviations.
        spreads: Standard deviation of each arm's trainings, as multiple of the baseline's; 1 each by default.
        effect: True difference of the first arm, in standard errors.
    """

    seeds: int
    arms: int
    noise: str = "normal"
    spreads: tuple[float, ...] = ()
    effect: float = 0.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Simulated comparisons of a kind, for any share of the seeds in the variance of a mean difference.

    Attributes:
        kind: The kind.
        by_seed: Part of the seeds in the difference of each arm, whose mean has variance 1. Shape
            ``(comparisons, arms, seeds)``.
        by_image: Likewise of the images. Shape ``(comparisons, arms, images)``.
    """

    kind: Comparison
    by_seed: np.ndarray
    by_image: np.ndarray

    @cached_property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Means over seeds and over images, ``(comparisons, arms)`` each."""
        return self.by_seed.mean(2), self.by_image.mean(2)

    @cached_property
    def of_seeds(self) -> np.ndarray:
        """Sample variances between seeds, ``(comparisons, arms)``."""
        variance: np.ndarray = self.by_seed.var(2, ddof=1)
        return variance

    @cached_property
    def of_images(self) -> np.ndarray:
        """Variances of the mean due to the images, ``(comparisons, arms)``, of all bootstrap samples."""
        covariance = np.cov(_draws().T) * IMAGES / (IMAGES - 1)
        variance: np.ndarray = np.einsum("cai,cai->ca", self.by_image @ covariance, self.by_image)
        return variance

    @cached_property
    def moderated(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances between seeds that are possible after the data of all arms, and their probabilities."""
        return moderated_arrays(self.of_seeds, np.full(self.kind.arms, self.kind.seeds - 1))

    def estimate(self, share: float) -> np.ndarray:
        """Return the mean differences, ``(comparisons, arms)``."""
        seeds, images = self.means
        found: np.ndarray = np.sqrt(share) * seeds + np.sqrt(1 - share) * images
        found[:, 0] += self.kind.effect
        return found

    def values(self, number: int, share: float) -> dict[str, Values]:
        """Return the differences of one comparison as the package takes them, with bootstrap replicates."""
        by_seed, by_image = np.sqrt(share) * self.by_seed[number], np.sqrt(1 - share) * self.by_image[number]
        by_seed[0] += self.kind.effect
        found = by_seed + by_image.mean(1, keepdims=True)
        again = (by_image @ _draws().T)[:, :, None] + by_seed[:, None]
        return {f"arm {arm}": Values(found[arm], again[arm]) for arm in range(len(found))}


def draw(kind: Comparison, comparisons: int, rng: np.random.Generator) -> Sample:
    """Draw comparisons; the differences of two arms share the baseline's part, of the seeds and of the images."""
    spreads = np.append(kind.spreads or (1.0,) * kind.arms, 1.0)
    trainings = _noise(kind.noise, rng, (comparisons, kind.arms + 1, kind.seeds)) * spreads[:, None]
    images = rng.normal(size=(comparisons, kind.arms + 1, IMAGES))
    return Sample(
        kind,
        (trainings[:, :-1] - trainings[:, -1:]) * np.sqrt(kind.seeds / 2),
        (images[:, :-1] - images[:, -1:]) * np.sqrt(IMAGES / 2),
    )


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


def p_values(sample: Sample, share: float, together: bool) -> np.ndarray:
    """Return the p value of each arm, ``(comparisons, arms)``, for all comparisons at once.

    Args:
        sample: The comparisons.
        share: Share of the seeds in the variance of a mean difference.
        together: Whether the spread of each arm is known with the help of the others, as by ``differences``; else as
            for one arm alone, as by ``difference``.
    """
    error, df = np.abs(sample.estimate(share)), sample.kind.seeds - 1
    together = together and sample.kind.arms > 1
    if share == 0:
        p = 2 * stdtr(IMAGES - 1, -error / np.sqrt(sample.of_images))
    elif share == 1 and not together:
        p = 2 * stdtr(df, -error / np.sqrt(sample.of_seeds / sample.kind.seeds))
    else:
        if together:
            possible, weights = sample.moderated
            possible = possible[:, None]
        else:
            scaled = scaled_chi_squared(df)
            possible, weights = sample.of_seeds[..., None] / scaled.values, scaled.weights
        images = scaled_chi_squared(IMAGES - 1 if share < 1 else math.inf)
        by_images = (1 - share) * sample.of_images[..., None] / images.values
        variance = (share / sample.kind.seeds * possible)[..., None] + by_images[:, :, None]
        p = ((erfc(error[..., None, None] / np.sqrt(2 * variance)) @ images.weights) * weights).sum(-1)
    return np.maximum(p, LEAST_P)


def adjusted(p: np.ndarray) -> np.ndarray:
    """Return p values ``(comparisons, arms)`` adjusted over the arms by Holm's method."""
    order = np.argsort(p, axis=1)
    steps = np.arange(p.shape[1], 0, -1) * np.take_along_axis(p, order, 1)
    found = np.empty_like(p)
    np.put_along_axis(found, order, np.minimum(np.maximum.accumulate(steps, axis=1), 1), 1)
    return found


def check(
    sample: Sample, share: float, together: np.ndarray, alone: np.ndarray, comparisons: int, of_them_alone: int
) -> None:
    """Compare p values with those of the package's own ``differences``, and of its ``difference`` and ``holm``.

    Raises:
        AssertionError: If one differs by more than 1e-9, or an interval holds 0 where its p value says it does not.
    """
    for number in range(min(comparisons, len(together))):
        values = sample.values(number, share)
        found = list(differences(values, IMAGES, power=False).values())
        np.testing.assert_allclose(together[number], [d.p for d in found], rtol=0, atol=1e-9)
        np.testing.assert_allclose(adjusted(together)[number], [d.p_holm for d in found], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(together[number] >= SIGNIFICANT, [d.low <= 0 <= d.high for d in found])
        if number < of_them_alone:
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


def rates(
    kind: Comparison, shares: Sequence[float], comparisons: int, checked: int = 0
) -> dict[float, tuple[Rates, Rates]]:
    """Return the rates of arms compared together, as by ``differences``, and of each alone, adjusted by ``holm``.

    Args:
        kind: The kind of comparisons.
        shares: Shares of the seeds in the variance of a mean difference; for all of them, the trainings are the same.
        comparisons: Number of comparisons.
        checked: How many of them are computed by the package as well.
    """
    rng = np.random.default_rng(zlib.crc32(repr(astuple(kind)).encode()))
    counts = {share: np.zeros((2, 3)) for share in shares}
    for first in range(0, comparisons, size := max(1, CHUNK // kind.arms)):
        sample = draw(kind, min(size, comparisons - first), rng)
        for share in shares:
            p = [p_values(sample, share, together) for together in (True, False)]
            check(sample, share, p[0], p[1], checked - first, min(checked, CHECKED_ALONE) - first)
            for row, of_arms in zip(counts[share], p, strict=True):
                clear = adjusted(of_arms) < SIGNIFICANT
                better = clear[:, 0] & (sample.estimate(share)[:, 0] > 0)
                row += clear.any(1).sum(), (of_arms >= SIGNIFICANT).mean(1).sum(), better.sum()
    found = {}
    for share, of_share in counts.items():
        together, alone = (Rates(*(100 * row / comparisons).tolist()) for row in of_share)
        found[share] = together, alone
    return found


def table_of(head: Sequence[str], found: Mapping[tuple[object, ...], Sequence[Rates]], power: bool = False) -> str:
    """Return a table of rates, one column for each number of arms."""
    rows = [[*map(str, of), *(f"{r.found:.0f}" if power else str(r) for r in cells)] for of, cells in found.items()]
    return "\n".join(table([*head, "seeds", *(f"{n} arm{'s' if n > 1 else ''}" for n in ARMS)], rows))


def summary(cells: Mapping[tuple[Comparison, float], Rates], comparisons: int) -> str:
    """Return sentences on the share of false verdicts over all cells."""
    rate = {f"{k.noise}, share {share}, {k.seeds} seeds, {k.arms} arms": r.verdicts for (k, share), r in cells.items()}
    values, least, most = np.array([*rate.values()]), min(rate, key=rate.__getitem__), max(rate, key=rate.__getitem__)
    below, above = (100 * b + s * 196 * math.sqrt(b * (1 - b) / comparisons) for b, s in ((0.04, -1), (0.06, 1)))
    return (
        f"{len(rate)} cells: mean {values.mean():.2f} %, smallest {rate[least]:.1f} % ({least}), largest "
        f"{rate[most]:.1f} % ({most}). Below 4 %: {np.sum(values < 4)}, beyond Monte-Carlo error ({below:.2f}): "
        f"{np.sum(values < below)}. Above 5 %: {np.sum(values > 5)}. Above 6 %: {np.sum(values > 6)}, beyond "
        f"Monte-Carlo error ({above:.2f}): {np.sum(values > above)}."
    )


def to_markdown(comparisons: int, checked: int = CHECKED, processes: int | None = None) -> str:
    """Simulate all kinds of comparisons, and return the tables."""
    null = {(noise, s, n): Comparison(s, n, noise) for noise in NOISE for s in SEEDS for n in ARMS}
    unequal = {(name, s): Comparison(s, 6, spreads=UNEQUAL[name]) for name in UNEQUAL for s in SEEDS}
    strong = {(s, n): Comparison(s, n, effect=4.0) for s in SEEDS for n in ARMS}
    tasks = [(kind, SHARES) for kind in null.values()] + [(kind, (0.95,)) for kind in unequal.values()]
    tasks += [(kind, (0.5, 0.95)) for kind in strong.values()]
    tasks.sort(key=lambda task: -task[0].arms * len(task[1]))
    found: dict[tuple[Comparison, float], tuple[Rates, Rates]] = {}
    with ProcessPoolExecutor(processes) as pool:
        running = {pool.submit(rates, *task, comparisons, checked): task[0] for task in tasks}
        for number, done in enumerate(as_completed(running), 1):
            of_kind = {(running[done], share): both for share, both in done.result().items()}
            found |= of_kind
            cells = ", ".join(f"{share}: {both[0]} / {both[1]}" for (_, share), both in of_kind.items())
            print(f"{number} of {len(tasks)}, {running[done]}: {cells}", file=sys.stderr, flush=True)
    sections = []
    for way, title in enumerate(("arms together, `differences`", "each arm alone, `difference` and `holm`")):
        cells_of = {(kind, share): found[kind, share][way] for kind in null.values() for share in SHARES}
        sections.append(f"{title}: {summary(cells_of, comparisons)}")
        for noise in NOISE:
            rows = {(r, s): [cells_of[null[noise, s, n], r] for n in ARMS] for r in SHARES for s in SEEDS}
            sections.append(table_of([f"{noise}, {title}; share of the seeds"], rows))
    head = ["spread of six arms, share 0.95", "seeds", "together", "each alone"]
    of_six = [[name, str(seeds), *map(str, found[kind, 0.95])] for (name, seeds), kind in unequal.items()]
    sections.append("\n".join(table(head, of_six)))
    for way, title in enumerate(("together", "each alone")):
        rows = {(r, s): [found[strong[s, n], r][way] for n in ARMS] for r in (0.5, 0.95) for s in SEEDS}
        head = [f"a true difference of 4 standard errors, arms {title}; share"]
        sections.append(table_of(head, rows, power=True))
    return "\n\n".join(sections)


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/check_verdicts.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparisons", nargs="?", type=int, default=2000, help="comparisons for each cell")
    parser.add_argument("--checked", type=int, default=CHECKED, help="of them, computed by the package as well")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(words)
    print(to_markdown(given.comparisons, given.checked, given.processes))
