"""Compute differences between the arms of a comparison and the baseline, with intervals and tests.

Every run is evaluated on the same bootstrap samples of the images, so differences are paired by image and by seed.
``docs/statistics.md`` describes the intervals and their measured coverage.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.evaluate.bootstrap import Resampled, Source, draw_images, load_evaluation, resample_all
from yolo_attn.evaluate.intervals import Uncertainty, holm, sign_flip_test
from yolo_attn.evaluate.matches import Curve
from yolo_attn.evaluate.spread import moderated

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
    untested: Collection[str] = (),
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
        untested: Arms that compute the same as the baseline: they get no verdict, and are no part of the adjustment.
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
    pairs = {}
    for name, arm in arms.items():
        shared = tuple(s for s in arm.seeds if s in runs[baseline])
        if name != baseline and shared:
            pairs[name] = [(resampled[_Run(name, s)], resampled[_Run(baseline, s)]) for s in shared]
            by_class = _by_class(classes, pairs[name], level)
            arms[name] = replace(arm, compared_seeds=shared, classes=by_class)
    for metric in next(iter(arms.values())).metrics:
        values = {name: found for name in pairs if (found := _of_metric(metric, pairs[name]))}
        for name, d in differences(values, int(whole.images), level, untested).items():
            arms[name] = replace(arms[name], differences={**arms[name].differences, metric: d})
    skipped = tuple(name for name in runs if name not in arms)
    return Statistics(baseline, arms, skipped, int(whole.images), len(whole.target_cls), replicates, level, seed)


class Values(NamedTuple):
    """Differences of an arm in one metric, see :meth:`~yolo_attn.evaluate.intervals.Uncertainty.of`.

    Attributes:
        by_seed: By seed, on all images. Shape ``(S,)``.
        replicates: By bootstrap sample and seed, with the same samples for all arms and seeds. Shape ``(R, S)``.
        excess: Likewise; variance that the replicates have too much. ``None`` for none.
    """

    by_seed: np.ndarray
    replicates: np.ndarray
    excess: np.ndarray | None = None


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
    known = {name: Uncertainty.of(v.by_seed, v.replicates, images, v.excess) for name, v in values.items()}
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


def _of_metric(metric: str, pairs: Sequence[tuple[Resampled, Resampled]]) -> Values | None:
    """Return the differences of an arm in one metric; ``None`` where a run does not have it."""
    if any(metric not in run.for_variance for pair in pairs for run in pair):
        return None
    found = [(a.for_variance[metric], b.for_variance[metric]) for a, b in pairs]
    by_seed, replicates = _paired([(a[0], b[0]) for a, b in found])
    return Values(by_seed, replicates, _paired([(a[1], b[1]) for a, b in found])[1])


def _by_class(
    classes: Sequence[_Class], pairs: Sequence[tuple[Resampled, Resampled]], level: float
) -> tuple[ClassDifference, ...]:
    return tuple(
        _class_difference(cls, [(a.by_class[:, c], b.by_class[:, c]) for a, b in pairs], level)
        for c, cls in enumerate(classes)
    )


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
