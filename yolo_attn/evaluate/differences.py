"""Compute differences of arms to the baseline in one metric or class, with intervals, tests and verdicts.

``docs/statistics.md`` describes the intervals and their measured coverage.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from yolo_attn.evaluate.intervals import Uncertainty, holm, sign_flip_test
from yolo_attn.evaluate.spread import moderated

SMALL_DIFFERENCE = 0.005
"""Difference in mAP for which the required number of seeds is reported."""

SIGNIFICANT = 0.05
"""Significance level of the adjusted p-value."""


@dataclass(frozen=True)
class Difference:
    """Difference of a metric to the baseline, paired by seed and image; positive where the arm is higher.

    Attributes:
        estimate: Mean difference over seeds, on all images.
        low: Lower end of its confidence interval.
        high: Upper end.
        se: Standard error over seeds and images.
        df: Degrees of freedom by which the variance between seeds is known: the number of seeds minus 1, and
            mostly more where other arms say something of it.
        seed_share: Share of the variance that is due to the seeds; the rest is due to the images.
        p: Two-sided p-value of the same test as the interval.
        p_permutation: Exact p-value of the sign-flip test over seeds.
        permutation_floor: Smallest p-value that this number of seeds can give in that test.
        by_seed: Difference by seed.
        seeds_counted: Whether the interval includes the variance between seeds; with one seed it does not.
        detectable: Smallest true difference for which the verdict is ``better`` with a probability of 80 %, the other
            arms being as they are; ``None`` for one seed.
        seeds_needed: Number of seeds for which that difference is ``SMALL_DIFFERENCE``; ``None`` if more than 1,000.
        p_holm: ``p``, adjusted over the arms by Holm's method.
        p_permutation_holm: ``p_permutation``, adjusted likewise.
        verdict: ``better`` or ``worse`` if ``p_holm`` is below 0.05, else ``not significant``; ``None`` for one seed,
            and for an arm that is not tested.
    """

    estimate: float
    low: float
    high: float
    se: float
    df: float
    seed_share: float
    p: float
    p_permutation: float
    permutation_floor: float
    by_seed: tuple[float, ...]
    seeds_counted: bool
    detectable: float | None
    seeds_needed: int | None
    p_holm: float = 1.0
    p_permutation_holm: float = 1.0
    verdict: str | None = None


@dataclass(frozen=True)
class ClassDifference:
    """Difference in mAP50-95 of one class to the baseline, with its interval; classes are not tested.

    Attributes:
        name: Name of the class.
        targets: Number of its targets.
        images: Number of images with such a target.
        baseline: Mean of the baseline over seeds.
        estimate: Mean difference over seeds.
        low: Lower end of its confidence interval; ``None`` if all targets are in one image.
        high: Upper end.
    """

    name: str
    targets: int
    images: int
    baseline: float
    estimate: float
    low: float | None
    high: float | None


class Values(NamedTuple):
    """Differences of an arm in one metric, see :meth:`~yolo_attn.evaluate.intervals.Uncertainty.of`.

    Attributes:
        by_seed: By seed, on all images. Shape ``(S,)``.
        replicates: By bootstrap sample and seed, with the same samples for all arms and seeds. Shape ``(R, S)``.
        excess: Likewise; variance that the replicates have too much. ``None`` for none.
        image_df: Degrees of freedom by which the variance due to the images is known; the number of images minus 1 by
            default.
    """

    by_seed: np.ndarray
    replicates: np.ndarray
    excess: np.ndarray | None = None
    image_df: float | None = None


def differences(
    values: Mapping[str, Values],
    images: int,
    level: float = 0.95,
    untested: Collection[str] = (),
    power: bool = True,
) -> dict[str, Difference]:
    """Return the difference of every arm in one metric, with interval, tests and verdict.

    Args:
        values: Differences of each arm.
        images: Number of images.
        level: Level of the intervals.
        untested: Arms that get no verdict; their spread says nothing of the others'.
        power: Whether to compute ``detectable`` and ``seeds_needed``, which takes most of the time.
    """
    known = {name: Uncertainty.of(v.by_seed, v.replicates, images, v.excess, v.image_df) for name, v in values.items()}
    several = [name for name, u in known.items() if u.seeds > 1 and name not in untested]
    varying = [name for name in several if known[name].seed_variance]
    samples = [(known[name].seed_variance * known[name].seeds, known[name].seeds - 1) for name in varying]
    spreads = moderated([variance for variance, _ in samples], [df for _, df in samples]) if samples else []
    known |= {name: known[name].with_spread(spread) for name, spread in zip(varying, spreads, strict=True)}
    found = {name: _difference(known[name], v.by_seed, level) for name, v in values.items()}
    tested = [name for name in found if name not in untested]
    adjusted = holm([found[name].p for name in tested]), holm([found[name].p_permutation for name in tested])
    for name, p, p_permutation in zip(tested, *adjusted, strict=True):
        found[name] = replace(found[name], p_holm=p, p_permutation_holm=p_permutation)
    clear = {name for name in tested if found[name].p_holm < SIGNIFICANT}
    for name in several:
        d = found[name] = replace(found[name], verdict=_verdict(found[name]))
        if power:
            threshold = SIGNIFICANT / (len(tested) - len(clear - {name}))  # the other arms being as they are
            detectable = known[name].detectable(1 - threshold)
            needed = known[name].seeds_to_detect(SMALL_DIFFERENCE, 1 - threshold)
            found[name] = replace(d, detectable=detectable, seeds_needed=needed)
    return found


def difference(by_seed: np.ndarray, replicates: np.ndarray, images: int, level: float = 0.95) -> Difference:
    """Return the difference of an arm that is compared alone; see :class:`Values` and :func:`differences`."""
    return differences({"": Values(by_seed, replicates)}, images, level)[""]


def _difference(uncertainty: Uncertainty, by_seed: np.ndarray, level: float) -> Difference:
    estimate = float(by_seed.mean())
    low, high = uncertainty.interval(estimate, level)
    p_permutation, floor = sign_flip_test(by_seed.tolist())
    return Difference(
        estimate=estimate,
        low=low,
        high=high,
        se=uncertainty.se,
        df=uncertainty.df,
        seed_share=uncertainty.seed_share,
        p=uncertainty.p_value(estimate),
        p_permutation=p_permutation,
        permutation_floor=floor,
        by_seed=tuple(by_seed.tolist()),
        seeds_counted=uncertainty.seeds > 1,
        detectable=None,
        seeds_needed=None,
    )


def _verdict(found: Difference) -> str:
    if found.p_holm >= SIGNIFICANT:
        return "not significant"
    return "better" if found.estimate > 0 else "worse"


def power_note(found: Mapping[str, Difference]) -> str | None:
    """Return a sentence on the true differences that get a verdict, ``None`` where no arm is compared.

    Args:
        found: Difference of each arm in one metric.
    """
    if not found:
        return None
    judged = {name: d for name, d in found.items() if d.detectable is not None}
    if not judged:
        one_seed = "With one seed the spread between trainings is unknown: train with at least 3 seeds."
        return None if any(d.seeds_counted for d in found.values()) else one_seed
    order = sorted(judged, key=lambda name: judged[name].detectable or 0.0)
    sizes = [f"{judged[name].detectable:.4f} ({name})" for name in dict.fromkeys((order[0], order[-1]))]
    needed = [d.seeds_needed for d in judged.values()]
    more = (
        f"finding {SMALL_DIFFERENCE} takes about {max(n for n in needed if n)} seeds"
        if all(needed)
        else f"on these images, no number of seeds up to 1000 finds {SMALL_DIFFERENCE}"
    )
    seeds = min(len(d.by_seed) for d in judged.values())
    tested = f"{len(judged)} models tested" if len(judged) > 1 else "one model tested"
    return (
        f"With {seeds} seeds, this spread and {tested}, a true difference of {' to '.join(sizes)} is found significant "
        f"with a probability of 80 %, a smaller one less often; {more}{' in each' if len(judged) > 1 else ''}."
    )


class Targets(NamedTuple):
    """A class: its name, the number of its targets, and of images with one."""

    name: str
    targets: int
    images: int


def class_difference(cls: Targets, pairs: Sequence[tuple[np.ndarray, np.ndarray]], level: float) -> ClassDifference:
    """Return the difference of an arm in one class.

    Args:
        cls: The class.
        pairs: Values of the arm and of the baseline, for each seed, on all images (index 0) and on each bootstrap
            sample; NaN where there is none. Shape ``(1 + R,)`` each.
        level: Level of the interval.
    """
    by_seed, replicates = paired(pairs)
    estimate, baseline = float(by_seed.mean()), statistics.fmean(float(b[0]) for _, b in pairs)
    low = high = None
    if cls.images > 1 and len(replicates) > 1:
        low, high = Uncertainty.of(by_seed, replicates, cls.images).interval(estimate, level)
    return ClassDifference(cls.name, cls.targets, cls.images, baseline, estimate, low, high)


def paired(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return differences on all images ``(S,)``, and on the bootstrap samples that have a value ``(R, S)``."""
    both = np.stack([a - b for a, b in pairs], axis=1)
    return both[0], both[1:][~np.isnan(both[1:]).any(1)]
