"""Metrics of evaluated runs on resampled images: the same images, with multiplicity, for every run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.ap import Curve, average_precision, mean_average_precision
from yolo_attn.evaluate.matches import Matches
from yolo_attn.evaluate.npz import Record

THRESHOLDS = 10
"""IoU thresholds of a record: 0.5 to 0.95 in steps of 0.05."""

SIZE_METRICS = {"APs": "small", "APm": "medium", "APl": "large"}


@dataclass(frozen=True, eq=False)
class Resampled:
    """Metrics of one run.

    Attributes:
        metrics: By name, on the images as they are and then by replicate. Shape ``(1 + R,)`` each. A metric by size is
            left out where no target has that size, and where sizes are not stored.
        by_class: Average precision of each class, likewise. Shape ``(1 + R, C)``; NaN where no target was drawn.
    """

    metrics: Mapping[str, np.ndarray]
    by_class: np.ndarray


def draw_images(images: int, replicates: int, seed: int) -> np.ndarray:
    """Draw as many images as there are, with replacement, and return how often each was: ``(replicates, images)``."""
    counts = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=replicates)
    return counts.astype(np.min_scalar_type(counts.max(initial=1)))


def resample(record: Any, draws: np.ndarray, curve: Curve | None = None) -> Resampled:
    """Return the metrics of one run on all images and on the drawn ones.

    Args:
        record: A :class:`~yolo_attn.evaluate.matches.Matches`, or whatever else has its ``by_size`` and ``curve``.
        draws: How often each image was drawn. Shape ``(R, images)``.
        curve: How the curve of precision over recall is read, see ``average_precision``; the record's by default.
    """
    curve = curve or record.curve
    weights = np.concatenate([np.ones((1, draws.shape[1]), draws.dtype), draws])
    views: Mapping[str, Matches] = record.by_size()
    if (thresholds := views["all"].correct.shape[1]) != THRESHOLDS:
        raise YoloAttnError(f"matches at {thresholds} IoU thresholds; give {THRESHOLDS}: 0.5 to 0.95 in steps of 0.05")
    ap = average_precision(views["all"], weights, curve)
    metrics = {"mAP50-95": mean_average_precision(ap)}
    metrics |= {name: mean_average_precision(ap[:, :, [t]]) for name, t in (("AP50", 0), ("AP75", 5))}
    for name, size in SIZE_METRICS.items():
        if size in views and len(views[size].target_cls):
            metrics[name] = mean_average_precision(average_precision(views[size], weights, curve))
    return Resampled(metrics, ap.mean(2))


def resample_all(
    runs: Mapping[Hashable, Any],
    draws: np.ndarray,
    curve: Curve | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Hashable, Resampled]:
    """Return the metrics of several runs of the same images, some runs at a time.

    Args:
        runs: The record of each run, or the path of its file, which is read when its turn comes.
        draws: How often each image was drawn. Shape ``(R, images)``.
        curve: How the curve of precision over recall is read; the records' by default.
        workers: Runs worked on at a time; by default as many as there are processors.
        progress: Told how many runs are done, and of how many.

    Raises:
        YoloAttnError: If the runs are not of the same images and targets.
    """
    first = next(iter(runs))
    reference = _Set.of(opened(runs[first]))
    workers = min(workers or cpu_count() or 1, len(runs))
    done = {}
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


def opened(record: Any) -> Any:
    """Return a record, read from its file where a path is given."""
    return Record.load(record) if isinstance(record, str | Path) else record


def _pool(workers: int) -> Executor:
    if workers > 1 and sys.platform == "linux":  # elsewhere a script without a main guard would start itself again
        return ProcessPoolExecutor(workers, mp_context=get_context("fork"))
    return ThreadPoolExecutor(workers)


@dataclass(frozen=True, eq=False)
class _Set:
    """What a run was evaluated on; the same for all runs of a comparison."""

    images: int
    names: tuple[str, ...]
    target_image: np.ndarray
    target_cls: np.ndarray

    @classmethod
    def of(cls, record: Any) -> _Set:
        return cls(record.images, record.names, record.target_image, record.target_cls)

    def differs_from(self, other: _Set) -> str | None:
        """Say in what two sets differ, or nothing."""
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
    record: Any, run: Hashable, first: Hashable, reference: _Set, draws: np.ndarray, curve: Curve
) -> Resampled:
    record = opened(record)
    if difference := _Set.of(record).differs_from(reference):
        raise YoloAttnError(f"{run} was not evaluated on the same set as {first}: {difference}")
    return resample(record, draws, curve)
