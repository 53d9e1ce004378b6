"""Compare the runs of all arms with those of the baseline.

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
from yolo_attn.evaluate.differences import (
    ClassDifference,
    Difference,
    Targets,
    Values,
    class_difference,
    differences,
    paired,
)
from yolo_attn.evaluate.matches import Curve


@dataclass(frozen=True)
class Metric:
    """Values of a metric by seed, their mean, and their standard deviation (``None`` for one seed)."""

    by_seed: tuple[float, ...]
    mean: float
    sd: float | None


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


class _Run(NamedTuple):
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"arm '{self.arm}', seed {self.seed}"


def _classes(target_image: np.ndarray, target_cls: np.ndarray, names: Mapping[int, str]) -> list[Targets]:
    """Return the classes that have targets, in order, with the number of targets and of images with one."""
    found = []
    for cls in np.unique(target_cls).tolist():
        images = target_image[target_cls == cls]
        found.append(Targets(str(names.get(cls, cls)), len(images), len(np.unique(images))))
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
    by_seed, replicates = paired([(a[0], b[0]) for a, b in found])
    excess = paired([(a[1], b[1]) for a, b in found])[1]
    return Values(by_seed, replicates, excess, pairs[0][0].image_df[metric])


def _by_class(
    classes: Sequence[Targets], pairs: Sequence[tuple[Resampled, Resampled]], level: float
) -> tuple[ClassDifference, ...]:
    return tuple(
        class_difference(cls, [(a.by_class[:, c], b.by_class[:, c]) for a, b in pairs], level)
        for c, cls in enumerate(classes)
    )
