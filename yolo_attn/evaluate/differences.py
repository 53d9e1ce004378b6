"""Compute differences between the arms of a comparison and the baseline, with intervals and tests.

Every run is evaluated on the same bootstrap samples of the images, so differences are paired by image and by seed.
``docs/statistics.md`` describes the intervals and their measured coverage.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.evaluate.bootstrap import Resampled, Source, draw_images, load_evaluation, resample_all
from yolo_attn.evaluate.intervals import Uncertainty, holm, sign_flip_test
from yolo_attn.evaluate.matches import Curve

SMALL_DIFFERENCE = 0.005
"""Difference in mAP for which the required number of seeds is reported."""

SIGNIFICANT = 0.05
"""Significance level of the adjusted p-value."""


@dataclass(frozen=True)
class Metric:
    """Values of a metric by seed, their mean, and their standard deviation (``None`` for one seed)."""

    by_seed: tuple[float, ...]
    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """Difference of a metric to the baseline, paired by seed and image; positive where the arm is higher.

    Attributes:
        estimate: Mean difference over seeds, on all images.
        low: Lower end of its confidence interval.
        high: Upper end.
        se: Standard error over seeds and images.
        df: Degrees of freedom of the seeds: their number minus 1.
        seed_share: Share of the variance that is due to the seeds; the rest is due to the images.
        p: Two-sided p-value of the same test as the interval.
        p_permutation: Exact p-value of the sign-flip test over seeds.
        permutation_floor: Smallest p-value that this number of seeds can give in that test.
        by_seed: Difference by seed.
        seeds_counted: Whether the interval includes the variance between seeds; with one seed it does not.
        detectable: Smallest true difference that is significant with a probability of 80 %, before Holm's adjustment;
            ``None`` for one seed.
        seeds_needed: Number of seeds that detect a true difference of ``SMALL_DIFFERENCE`` with that probability;
            ``None`` if more than 1,000.
        p_holm: ``p``, adjusted over the arms by Holm's method.
        p_permutation_holm: ``p_permutation``, adjusted likewise.
        verdict: ``better`` or ``worse`` if ``p_holm`` is below 0.05, else ``not significant``; ``None`` for one seed.
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


@dataclass(frozen=True)
class ArmStatistics:
    """Statistics of one arm.

    Attributes:
        seeds: Seeds of its runs.
        metrics: Values by metric.
        compared_seeds: Seeds shared with the baseline, which the differences are computed over; empty for the baseline.
        differences: Differences to the baseline by metric; empty for the baseline.
        classes: Differences in mAP50-95 to the baseline by class; empty for the baseline.
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
        arms: Statistics by arm, the baseline first; arms without a run are left out.
        skipped: Arms without a run.
        images: Number of images.
        targets: Number of targets.
        replicates: Number of bootstrap samples.
        level: Level of the intervals.
        seed: Seed of the bootstrap.
    """

    baseline: str
    arms: Mapping[str, ArmStatistics]
    skipped: tuple[str, ...]
    images: int
    targets: int
    replicates: int
    level: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return all statistics as dicts, lists and numbers, ready for JSON."""
        return asdict(self)


def compare_arms(
    matches: Mapping[str, Mapping[int, Source | None] | Sequence[Source | None]],
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
        matches: Evaluations of the runs of each arm: by seed, or a list in the order of ``seeds`` with ``None`` for a
            missing run. An evaluation is a :class:`~yolo_attn.evaluate.matches.Matches`, a
            :class:`~yolo_attn.evaluate.coco_ap.Boxes`, or the path of a stored one.
        seeds: Seeds of the lists; 0, 1, 2 ... by default.
        baseline: Arm to compare with; the first by default.
        replicates: Number of bootstrap samples.
        level: Level of the intervals.
        seed: Seed of the bootstrap.
        curve: Precision-recall curve, see ``tail`` of :func:`~yolo_attn.evaluate.ap.average_precision`; by default
            Ultralytics' for matches, COCO's for boxes.
        class_names: Names of the classes; their numbers by default.
        workers: Number of parallel workers; the number of processors by default.
        progress: Called with the number of runs done and the total.

    Raises:
        YoloAttnError: If the baseline has no run, or the runs are not of the same images and targets.
    """
    if not matches:
        raise YoloAttnError("there are no arms to compare")
    baseline = next(iter(matches)) if baseline is None else baseline
    if baseline not in matches:
        raise YoloAttnError(one_of("arm", baseline, matches))
    if replicates < 2 or not 0 < level < 1:
        raise YoloAttnError(f"replicates={replicates}, level={level}: give at least 2 replicates and a level in (0, 1)")
    runs = {name: _by_seed(name, matches[name], seeds) for name in (baseline, *matches)}
    if not runs[baseline]:
        raise YoloAttnError(f"the baseline '{baseline}' has no complete run, so there is nothing to compare with")
    whole = load_evaluation(next(iter(runs[baseline].values())))
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
        baseline, _with_verdicts(arms), skipped, int(whole.images), len(whole.target_cls), replicates, level, seed
    )


def difference(by_seed: np.ndarray, replicates: np.ndarray, images: int, level: float = 0.95) -> Difference:
    """Return a mean difference with its interval and tests, not adjusted for the number of arms.

    Args:
        by_seed: Difference by seed on all images. Shape ``(S,)``.
        replicates: Difference by bootstrap sample and seed, with the same samples for all seeds. Shape ``(R, S)``.
        images: Number of images.
        level: Level of the interval.
    """
    uncertainty, estimate = Uncertainty.of(by_seed, replicates, images), float(by_seed.mean())
    low, high = uncertainty.interval(estimate, level)
    p_permutation, floor = sign_flip_test(by_seed.tolist())
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
    """Return a sentence on the smallest difference that a comparison of this size can detect."""
    seeds = found.df + 1
    if not found.seeds_counted:
        return "With one seed the spread between trainings is unknown: train with at least 3 seeds."
    more = (
        f"detecting {SMALL_DIFFERENCE} takes about {found.seeds_needed} seeds"
        if found.seeds_needed
        else f"on these images, no number of seeds up to 1000 detects {SMALL_DIFFERENCE}"
    )
    return (
        f"With {seeds} seeds and this spread, a true difference of {found.detectable:.4f} is detected with a "
        f"probability of 80 %, a smaller one less often; {more}."
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
    """Return the classes that have targets, in order, with the number of targets and of images with one."""
    found = []
    for cls in np.unique(target_cls).tolist():
        images = target_image[target_cls == cls]
        found.append(_Class(str(names.get(cls, cls)), len(images), len(np.unique(images))))
    return found


def _by_seed(
    arm: str, records: Mapping[int, Source | None] | Sequence[Source | None], seeds: Sequence[int] | None
) -> dict[int, Source]:
    """Return the evaluations of the existing runs, by seed."""
    if not isinstance(records, Mapping):
        seeds = range(len(records)) if seeds is None else seeds
        if len(records) != len(seeds):
            raise YoloAttnError(
                f"arm '{arm}' has {len(records)} runs for {len(seeds)} seeds; put None for a missing run"
            )
        records = dict(zip(seeds, records, strict=True))
    return {int(s): record for s, record in records.items() if record is not None}


def _arm(resampled: Sequence[Resampled], seeds: Iterable[int]) -> ArmStatistics:
    metrics = {}
    for name in resampled[0].metrics:
        values = [float(r.metrics[name][0]) for r in resampled]
        sd = statistics.stdev(values) if len(values) > 1 else None
        metrics[name] = Metric(tuple(values), statistics.fmean(values), sd)
    return ArmStatistics(tuple(seeds), metrics)


def _compared(
    arm: ArmStatistics,
    seeds: tuple[int, ...],
    pairs: Sequence[tuple[Resampled, Resampled]],
    classes: Sequence[_Class],
    images: int,
    level: float,
) -> ArmStatistics:
    """Return an arm with its differences to the baseline, from pairs of its runs and the baseline's."""
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
    """Return differences on all images ``(S,)``, and on the bootstrap samples that have a value ``(R, S)``."""
    both = np.stack([a - b for a, b in pairs], axis=1)
    return both[0], both[1:][~np.isnan(both[1:]).any(1)]


def _with_verdicts(arms: Mapping[str, ArmStatistics]) -> dict[str, ArmStatistics]:
    """Return the arms with p-values adjusted for the number of arms, and verdicts."""
    judged = dict(arms)
    for metric in next(iter(arms.values())).metrics:
        compared = [name for name in arms if metric in arms[name].differences]
        found = [arms[name].differences[metric] for name in compared]
        adjusted = zip(holm([d.p for d in found]), holm([d.p_permutation for d in found]), strict=True)
        for name, d, (p, p_permutation) in zip(compared, found, adjusted, strict=True):
            verdict = ("better" if d.estimate > 0 else "worse") if p < SIGNIFICANT else "not significant"
            d = replace(d, p_holm=p, p_permutation_holm=p_permutation, verdict=verdict if d.seeds_counted else None)
            judged[name] = replace(judged[name], differences={**judged[name].differences, metric: d})
    return judged
