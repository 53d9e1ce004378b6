"""Statistics of a comparison, from the stored matches of its runs: how much better an arm is, and how sure that is.

Every run is evaluated on the same resampled images, so that differences are paired by image and by seed. How the
intervals are made, and how often they hold the truth, is said in ``docs/statistics.md``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.evaluate.ap import Curve
from yolo_attn.evaluate.bootstrap import Resampled, draw_images, opened, resample_all
from yolo_attn.evaluate.intervals import Uncertainty, holm, sign_flip_test

SMALL_DIFFERENCE = 0.005
"""The difference in mAP for which the number of seeds that would show it is told."""

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Metric:
    """A metric of one arm: by seed, its mean, and its standard deviation over seeds (``None`` for one seed)."""

    by_seed: tuple[float, ...]
    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """How much higher a metric of an arm is than the baseline's, paired by seed and image.

    Attributes:
        estimate: Mean difference over seeds, on all images.
        low: Lower end of its interval.
        high: Upper end.
        se: Its standard error, over seeds and images.
        df: Degrees of freedom of the seeds, one less than there are.
        seed_share: Share of the seeds in the variance; the rest is the images'.
        p: Two-sided p value that goes with the interval.
        p_permutation: Exact p value of flipping the signs of the seeds' differences.
        permutation_floor: The smallest that so many seeds can give.
        by_seed: Difference of each seed.
        seeds_counted: Whether the interval speaks of other seeds too; with one seed, it speaks of these weights only.
        detectable: The smallest true difference that would be found significant with a probability of 80 %, before
            Holm's adjustment; ``None`` for one seed.
        seeds_needed: How many seeds would find a true difference of ``SMALL_DIFFERENCE`` so; ``None`` if more than
            1,000, as where the images alone are too few.
        p_holm: ``p``, adjusted by Holm's method over the arms.
        p_permutation_holm: ``p_permutation``, likewise.
        verdict: ``better`` or ``worse`` where ``p_holm`` is below 0.05, else ``not significant``; ``None`` for one
            seed.
    """

    estimate: float
    low: float
    high: float
    se: float
    df: int
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
    """How much higher an arm's mAP50-95 of one class is, with the interval; no test is made by class.

    Attributes:
        name: Name of the class.
        targets: Number of its targets.
        images: Number of images that they are in.
        baseline: The baseline's mean over seeds.
        estimate: Mean difference over seeds.
        low: Lower end of its interval; ``None`` where the targets are all in one image.
        high: Upper end.
    """

    name: str
    targets: int
    images: int
    baseline: float
    estimate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Arm:
    """Statistics of one arm.

    Attributes:
        seeds: Seeds of its runs.
        metrics: By name.
        compared_seeds: Seeds that the baseline has too, over which the differences go; none for the baseline itself.
        differences: To the baseline, by metric; none for the baseline itself.
        classes: To the baseline, by class; mAP50-95.
    """

    seeds: tuple[int, ...]
    metrics: Mapping[str, Metric]
    compared_seeds: tuple[int, ...] = ()
    differences: Mapping[str, Difference] = field(default_factory=dict)
    classes: tuple[ClassDifference, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """Statistics of a comparison.

    Attributes:
        baseline: Name of the arm that the others are compared with.
        arms: By name, the baseline first; arms without a run are left out.
        skipped: Arms without a run, or without a seed that the baseline has.
        images: Number of images.
        targets: Number of targets.
        replicates: Number of times the images were drawn.
        level: Level of the intervals.
        seed: Seed of the draws.
    """

    baseline: str
    arms: Mapping[str, Arm]
    skipped: tuple[str, ...]
    images: int
    targets: int
    replicates: int
    level: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers, ready for JSON."""
        return asdict(self)


def compare_arms(
    matches: Mapping[str, Mapping[int, Any] | Sequence[Any]],
    seeds: Sequence[int] | None = None,
    baseline: str | None = None,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    curve: Curve | None = None,
    class_names: Mapping[int, str] | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Compare arms with the baseline.

    Args:
        matches: Of each arm, the record of each run: a mapping from the seed, or a list in the order of ``seeds`` with
            ``None`` for what is missing. A record is a :class:`~yolo_attn.evaluate.matches.Matches`, a
            :class:`~yolo_attn.evaluate.coco_ap.Boxes`, or the path of a stored one.
        seeds: Seeds of the lists; 0, 1, 2 ... by default.
        baseline: Arm to compare with; the first by default.
        replicates: How often to draw the images.
        level: Level of the intervals.
        seed: Seed of the draws.
        curve: How the curve of precision over recall is read; see ``average_precision``; by default
            Ultralytics' for matches, COCO's for boxes.
        class_names: Names of the classes; their numbers by default.
        workers: Runs worked on at a time; by default as many as there are processors.
        progress: Told how many runs are done, and of how many.

    Raises:
        YoloAttnError: If the baseline has no run, or the runs are not of the same images and targets.
    """
    if not matches:
        raise YoloAttnError("there are no arms to compare")
    baseline = next(iter(matches)) if baseline is None else baseline
    if baseline not in matches:
        raise YoloAttnError(one_of("arm", baseline, matches))
    if replicates < 2 or not 0 < level < 1:
        raise YoloAttnError(
            f"replicates={replicates}, level={level}: give 2 replicates at least, and a level in (0, 1)"
        )
    runs = {name: _by_seed(name, matches[name], seeds) for name in (baseline, *matches)}
    if not runs[baseline]:
        raise YoloAttnError(f"the baseline '{baseline}' has no complete run, so there is nothing to compare with")
    whole = opened(next(iter(runs[baseline].values())))
    if not len(whole.target_cls) or whole.images < 2:
        raise YoloAttnError(f"{whole.images} images with {len(whole.target_cls)} targets are too few for statistics")
    draws = draw_images(whole.images, replicates, seed)
    records = {_Run(name, s): record for name, by_seed in runs.items() for s, record in by_seed.items()}
    resampled = resample_all(records, draws, curve, workers, progress)
    classes = _classes(whole.target_image, whole.target_cls, class_names or {})
    arms = {
        name: _arm([resampled[_Run(name, s)] for s in by_seed], by_seed) for name, by_seed in runs.items() if by_seed
    }
    for name in arms:
        shared = tuple(s for s in arms[name].seeds if s in runs[baseline])
        if name != baseline and shared:
            pairs = [(resampled[_Run(name, s)], resampled[_Run(baseline, s)]) for s in shared]
            arms[name] = _compared(arms[name], shared, pairs, classes, whole.images, level)
    skipped = tuple(name for name in runs if name not in arms)
    return Statistics(
        baseline, _judged(arms), skipped, int(whole.images), len(whole.target_cls), replicates, level, seed
    )


def difference(by_seed: np.ndarray, replicates: np.ndarray, images: int, level: float = 0.95) -> Difference:
    """Return a mean difference with its interval and tests, not yet adjusted for the number of arms.

    Args:
        by_seed: Difference of each seed on all images. Shape ``(S,)``.
        replicates: The same on resampled images, the same images for all seeds. Shape ``(R, S)``.
        images: Number of images.
        level: Level of the interval.
    """
    uncertainty, estimate = Uncertainty.of(by_seed, replicates, images), float(by_seed.mean())
    low, high = uncertainty.interval(estimate, level)
    p_permutation, floor = sign_flip_test(by_seed)
    counted = len(by_seed) > 1
    return Difference(
        estimate=estimate,
        low=low,
        high=high,
        se=uncertainty.se,
        df=len(by_seed) - 1,
        seed_share=uncertainty.seed_share,
        p=uncertainty.p_value(estimate),
        p_permutation=p_permutation,
        permutation_floor=floor,
        by_seed=tuple(by_seed.tolist()),
        seeds_counted=counted,
        detectable=uncertainty.detectable(level) if counted else None,
        seeds_needed=uncertainty.seeds_to_detect(SMALL_DIFFERENCE, level),
    )


def power_note(found: Difference) -> str:
    """Say in a sentence which differences a comparison of this size can find, and which not."""
    seeds = found.df + 1
    if not found.seeds_counted:
        return "With one seed nothing is known of the spread between trainings: train with 3 seeds at least."
    more = (
        f"about {found.seeds_needed} seeds would find {SMALL_DIFFERENCE}"
        if found.seeds_needed
        else f"no number of seeds up to 1000 would find {SMALL_DIFFERENCE} on these images"
    )
    return (
        f"With {seeds} seeds and this spread, a true difference below {found.detectable:.4f} is found less than "
        f"4 times in 5; {more}."
    )


class _Run(NamedTuple):
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"arm '{self.arm}', seed {self.seed}"


class _Class(NamedTuple):
    name: str
    targets: int
    images: int


def _classes(target_image: np.ndarray, target_cls: np.ndarray, names: Mapping[int, str]) -> list[_Class]:
    """Return the classes that have targets, in order, with the number of those and of the images they are in."""
    found = []
    for cls in np.unique(target_cls).tolist():
        images = target_image[target_cls == cls]
        found.append(_Class(str(names.get(cls, cls)), len(images), len(np.unique(images))))
    return found


def _by_seed(arm: str, records: Mapping[int, Any] | Sequence[Any], seeds: Sequence[int] | None) -> dict[int, Any]:
    """Return the records that are there, by seed."""
    if not isinstance(records, Mapping):
        seeds = range(len(records)) if seeds is None else seeds
        if len(records) != len(seeds):
            raise YoloAttnError(
                f"arm '{arm}' has {len(records)} runs for {len(seeds)} seeds; put None for a missing run"
            )
        records = dict(zip(seeds, records, strict=True))
    return {int(s): record for s, record in records.items() if record is not None}


def _arm(resampled: Sequence[Resampled], seeds: Iterable[int]) -> Arm:
    metrics = {}
    for name in resampled[0].metrics:
        values = [float(r.metrics[name][0]) for r in resampled]
        sd = statistics.stdev(values) if len(values) > 1 else None
        metrics[name] = Metric(tuple(values), statistics.fmean(values), sd)
    return Arm(tuple(seeds), metrics)


def _compared(
    arm: Arm,
    seeds: tuple[int, ...],
    pairs: Sequence[tuple[Resampled, Resampled]],
    classes: Sequence[_Class],
    images: int,
    level: float,
) -> Arm:
    """Return an arm with its differences from the baseline: pairs of its runs and the baseline's."""
    differences = {
        name: difference(*_paired([(a.metrics[name], b.metrics[name]) for a, b in pairs]), images, level)
        for name in arm.metrics
        if all(name in r.metrics for pair in pairs for r in pair)
    }
    by_class = [
        _class_difference(cls, [(a.by_class[:, c], b.by_class[:, c]) for a, b in pairs], level)
        for c, cls in enumerate(classes)
    ]
    return replace(arm, compared_seeds=seeds, differences=differences, classes=tuple(by_class))


def _class_difference(cls: _Class, pairs: Sequence[tuple[np.ndarray, np.ndarray]], level: float) -> ClassDifference:
    by_seed, replicates = _paired(pairs)
    estimate, baseline = float(by_seed.mean()), statistics.fmean(float(b[0]) for _, b in pairs)
    low = high = None
    if cls.images > 1 and len(replicates) > 1:
        low, high = Uncertainty.of(by_seed, replicates, cls.images).interval(estimate, level)
    return ClassDifference(cls.name, cls.targets, cls.images, baseline, estimate, low, high)


def _paired(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences on all images ``(S,)``, and on those replicates that have a value ``(R, S)``."""
    both = np.stack([a - b for a, b in pairs], axis=1)
    return both[0], both[1:][~np.isnan(both[1:]).any(1)]


def _judged(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """Return the arms with their p values adjusted for how many arms are compared, and the verdicts."""
    judged = dict(arms)
    for metric in next(iter(arms.values())).metrics:
        compared = [name for name in arms if metric in arms[name].differences]
        found = [arms[name].differences[metric] for name in compared]
        adjusted = zip(holm([d.p for d in found]), holm([d.p_permutation for d in found]), strict=True)
        for name, d, (p, p_permutation) in zip(compared, found, adjusted, strict=True):
            verdict = ("better" if d.estimate > 0 else "worse") if p < SIGNIFICANT else "not significant"
            verdict = verdict if d.seeds_counted else None
            d = replace(d, p_holm=p, p_permutation_holm=p_permutation, verdict=verdict)
            judged[name] = replace(judged[name], differences={**judged[name].differences, metric: d})
    return judged
