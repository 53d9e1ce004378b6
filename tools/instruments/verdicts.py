"""Count false verdicts, coverage and power in simulated comparisons: ``python tools/check_verdicts.py``."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_attn.evaluate.differences import SIGNIFICANT, Difference, Values, differences
from yolo_attn.util.markdown import table

SEEDS, ARMS, SHARES = (2, 3, 5), (1, 3, 6, 12), (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0)
NOISE = ("normal", "heavy-tailed", "failing")
IMAGES, REPLICATES = 200, 100


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


def simulate(kind: Comparison, rng: np.random.Generator) -> dict[str, Difference]:
    """Draw a comparison, and return what the package says of it.

    The differences of two arms share the baseline's part, of the seeds and of the images. Replicates of the images are
    drawn with the covariance that a bootstrap of as many images would find.
    """
    spreads = np.array(kind.spreads or (1.0,) * kind.arms)
    trainings = _noise(kind.noise, rng, (kind.seeds, kind.arms + 1)) * np.append(spreads, 1.0)
    by_seed = (trainings[:, :-1] - trainings[:, -1:]) * np.sqrt(kind.share * kind.seeds / 2)
    images = rng.normal(size=(IMAGES, kind.arms + 1))
    by_image = (images[:, :-1] - images[:, -1:]) * np.sqrt((1 - kind.share) * IMAGES / 2)
    draws = rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), REPLICATES) / IMAGES
    values = {}
    for arm in range(kind.arms):
        found = by_seed[:, arm] + by_image[:, arm].mean() + (kind.effect if arm == 0 else 0.0)
        again = (draws @ by_image[:, arm])[:, None] + by_seed[:, arm]
        values[f"arm {arm}"] = Values(found, again)
    return differences(values, IMAGES, power=False)


def _noise(kind: str, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    if kind == "heavy-tailed":
        return rng.standard_t(3, shape) / np.sqrt(3)
    noise = rng.normal(size=shape)
    if kind == "failing":
        noise = (noise - 4 * (rng.random(shape) < 0.1) + 0.4) / np.sqrt(1 + 16 * 0.09)
    return noise


def false_verdicts(kind: Comparison, experiments: int, seed: int = 0) -> tuple[float, float]:
    """Return the share of comparisons with a verdict where nothing differs, and that of intervals that hold 0."""
    rng = np.random.default_rng(seed)
    wrong = held = 0
    for _ in range(experiments):
        found = simulate(kind, rng).values()
        wrong += any(d.p_holm < SIGNIFICANT for d in found)
        held += sum(d.low <= 0 <= d.high for d in found)
    return wrong / experiments, held / experiments / kind.arms


def power(kind: Comparison, experiments: int, seed: int = 0) -> float:
    """Return how often the first arm gets the verdict ``better``."""
    rng = np.random.default_rng(seed)
    return sum(simulate(kind, rng)["arm 0"].verdict == "better" for _ in range(experiments)) / experiments


UNEQUAL: Mapping[str, tuple[float, ...]] = {
    "one of six three times": (3, 1, 1, 1, 1, 1),
    "three of six three times": (3, 3, 3, 1, 1, 1),
    "from 0.4 to 2.6 times": (0.4, 0.6, 0.8, 1.2, 1.7, 2.6),
}
"""Spreads of six arms that truly differ."""


def to_markdown(experiments: int) -> str:
    """Simulate all kinds of comparisons, and return the tables."""
    sections = []
    for noise in NOISE:
        rows = []
        for share, seeds in itertools.product(SHARES, SEEDS):
            cells = [false_verdicts(Comparison(seeds, arms, share, noise), experiments) for arms in ARMS]
            rows.append([f"{share}", str(seeds), *(f"{100 * w:.1f} ({100 * h:.1f})" for w, h in cells)])
            print(noise, *rows[-1], file=sys.stderr, flush=True)
        head = [f"{noise}; share of the seeds", "seeds", *(f"{n} arm{'s' if n > 1 else ''}" for n in ARMS)]
        sections.append("\n".join(table(head, rows)))
    rows = []
    for (name, spreads), seeds in itertools.product(UNEQUAL.items(), SEEDS):
        wrong, held = false_verdicts(Comparison(seeds, 6, 0.95, spreads=spreads), experiments)
        rows.append([name, str(seeds), f"{100 * wrong:.1f} ({100 * held:.1f})"])
    sections.append("\n".join(table(["spread of six arms, share 0.95", "seeds", "false verdicts (coverage)"], rows)))
    rows = []
    for share, seeds in itertools.product((0.5, 0.95), SEEDS):
        cells = [f"{100 * power(Comparison(seeds, n, share, effect=4.0), experiments):.0f}" for n in ARMS]
        rows.append([f"{share}", str(seeds), *cells])
    head = ["a true difference of 4 standard errors; share", "seeds", *(f"{n} arm{'s' if n > 1 else ''}" for n in ARMS)]
    sections.append("\n".join(table(head, rows)))
    return "\n\n".join(sections)


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/check_verdicts.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="?", type=int, default=1000, help="comparisons for each cell")
    print(to_markdown(parser.parse_args(words).experiments))
