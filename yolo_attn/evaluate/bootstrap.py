"""Compute metrics of evaluated runs on bootstrap samples of the images, the same samples for every run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import TypeVar

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.ap import average_precision, mean_average_precision
from yolo_attn.evaluate.coco_ap import Boxes, CocoMatches
from yolo_attn.evaluate.matches import Curve, Matches
from yolo_attn.evaluate.npz import load_record
from yolo_attn.evaluate.rare import image_df, stretched_mean

THRESHOLDS = 10
"""Number of IoU thresholds of an evaluation: 0.5 to 0.95 in steps of 0.05."""

SIZE_METRICS = {"APs": "small", "APm": "medium", "APl": "large"}

Evaluation = Matches | Boxes | CocoMatches
Source = Evaluation | str | Path
"""An evaluation, or the path of its file."""

Run = TypeVar("Run", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Resampled:
    """Metrics of one run on the original images (index 0) and on each bootstrap replicate.

    Attributes:
        metrics: Values by metric. Shape ``(1 + R,)`` each. A metric by size is left out if no target has that size or
            sizes are not stored.
        by_class: AP of each class. Shape ``(1 + R, C)``; NaN where no target of the class was drawn.
        for_variance: Replicates of each metric from which its variance is found where classes are in few images, and
            their excess; see :func:`~yolo_attn.evaluate.rare.stretched_mean`. Shape ``(1 + R,)`` each.
        image_df: Degrees of freedom by which that variance is known, by metric; see
            :func:`~yolo_attn.evaluate.rare.image_df`.
    """

    metrics: Mapping[str, np.ndarray]
    by_class: np.ndarray
    for_variance: Mapping[str, tuple[np.ndarray, np.ndarray]]
    image_df: Mapping[str, float]


def draw_images(images: int, replicates: int, seed: int) -> np.ndarray:
    """Draw ``images`` images with replacement; return how often each was drawn: ``(replicates, images)``."""
    counts = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=replicates)
    return counts.astype(np.min_scalar_type(counts.max(initial=1)))


def resample(record: Evaluation, draws: np.ndarray, curve: Curve | None = None) -> Resampled:
    """Return the metrics of one run on all images and on each bootstrap sample.

    Args:
        record: Evaluation of the run.
        draws: Number of times each image was drawn. Shape ``(R, images)``.
        curve: Precision-recall curve, see ``tail`` of :func:`average_precision`; the evaluation's own by default.

    Raises:
        YoloAttnError: If the evaluation does not have the 10 IoU thresholds.
    """
    curve = curve or record.curve
    weights = np.concatenate([np.ones((1, draws.shape[1]), draws.dtype), draws])
    views: Mapping[str, Matches] = record.by_size()
    if (thresholds := views["all"].correct.shape[1]) != THRESHOLDS:
        raise YoloAttnError(f"matches at {thresholds} IoU thresholds; give {THRESHOLDS}: 0.5 to 0.95 in steps of 0.05")
    ap = average_precision(views["all"], weights, curve)
    found = {"mAP50-95": (views["all"], ap.mean(2))}
    found |= {name: (views["all"], ap[:, :, t]) for name, t in (("AP50", 0), ("AP75", 5))}
    for name, size in SIZE_METRICS.items():
        if size in views and len(views[size].target_cls):
            found[name] = (views[size], average_precision(views[size], weights, curve).mean(2))
    return Resampled(
        metrics={name: mean_average_precision(by_class[:, :, None]) for name, (_, by_class) in found.items()},
        by_class=found["mAP50-95"][1],
        for_variance={
            name: stretched_mean(by_class, view.images_by_class, view.images)
            for name, (view, by_class) in found.items()
        },
        image_df={name: image_df(view.target_image, view.target_cls, view.images) for name, (view, _) in found.items()},
    )


def resample_all(
    runs: Mapping[Run, Source],
    draws: np.ndarray,
    curve: Curve | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Run, Resampled]:
    """Return the metrics of several runs on the same images, computed in parallel.

    Args:
        runs: Evaluation of each run, or the path of its file, which is read by the worker.
        draws: Number of times each image was drawn. Shape ``(R, images)``.
        curve: Precision-recall curve; the evaluations' own by default.
        workers: Number of parallel workers; the number of processors by default.
        progress: Called with the number of runs done and the total.

    Raises:
        YoloAttnError: If the runs are not of the same images and targets.
    """
    first = next(iter(runs))
    reference = _Set.of(load_evaluation(runs[first]))
    workers = min(workers or cpu_count() or 1, len(runs))
    done: dict[Run, Resampled] = {}
    with _pool(workers) as pool:
        tasks = {pool.submit(_checked, r, run, first, reference, draws, curve): run for run, r in runs.items()}
        try:
            for task in as_completed(tasks):
                done[tasks[task]] = task.result()
                if progress:
                    progress(len(done), len(runs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {run: done[run] for run in runs}


def load_evaluation(record: Source) -> Evaluation:
    """Return an evaluation, read from its file if a path is given."""
    if not isinstance(record, str | Path):
        return record
    kinds: tuple[type[Evaluation], ...] = (Matches, Boxes, CocoMatches)
    return load_record(record, *kinds)


def _pool(workers: int) -> Executor:
    if workers > 1 and sys.platform == "linux":  # elsewhere a script without a main guard would start itself again
        return ProcessPoolExecutor(workers, mp_context=get_context("fork"))
    return ThreadPoolExecutor(workers)


@dataclass(frozen=True, eq=False)
class _Set:
    """Images and targets that a run was evaluated on; the same for all runs of a comparison."""

    images: int
    names: tuple[str, ...]
    target_image: np.ndarray
    target_cls: np.ndarray

    @classmethod
    def of(cls, record: Evaluation) -> _Set:
        return cls(record.images, record.names, record.target_image, record.target_cls)

    def differs_from(self, other: _Set) -> str | None:
        """Return the first difference between two sets, or ``None`` if they are equal."""
        if self.images != other.images:
            return f"{self.images} images, not {other.images}"
        if self.names and other.names and self.names != other.names:
            i = next(i for i in range(self.images) if self.names[i] != other.names[i])
            return f"image {i} is '{self.names[i]}', not '{other.names[i]}'"
        if len(self.target_cls) != len(other.target_cls):
            return f"{len(self.target_cls)} targets, not {len(other.target_cls)}"
        for what in ("target_image", "target_cls"):
            if not np.array_equal(getattr(self, what), getattr(other, what)):
                return f"the targets are others ('{what}')"
        return None


def _checked(
    source: Source, run: Hashable, first: Hashable, reference: _Set, draws: np.ndarray, curve: Curve | None
) -> Resampled:
    record = load_evaluation(source)
    if difference := _Set.of(record).differs_from(reference):
        raise YoloAttnError(f"{run} was not evaluated on the same set as {first}: {difference}")
    return resample(record, draws, curve)
