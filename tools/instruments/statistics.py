"""Check the statistics on simulated comparisons: coverage of intervals, agreement, time and memory."""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.special import stdtrit

from instruments.simulation import REGIMES, Regime, detect, linear_differences, make_scene
from yolo_attn.evaluate.ap import RECALLS, average_precision, mean_average_precision
from yolo_attn.evaluate.bootstrap import draw_images, resample
from yolo_attn.evaluate.comparison import compare_arms
from yolo_attn.evaluate.intervals import Uncertainty
from yolo_attn.evaluate.matches import Matches
from yolo_attn.util.markdown import table

_integral = np.trapezoid if hasattr(np, "trapezoid") else getattr(np, "trapz")  # noqa: B009, the name before numpy 2

Interval = Callable[[np.ndarray, np.ndarray, int], tuple[float, float]]
"""From the difference by seed ``(S,)``, the replicates ``(R, S)`` and the number of images, an interval of 95 %."""


def ours(by_seed: np.ndarray, replicates: np.ndarray, images: int) -> tuple[float, float]:
    """Return the interval that the reports show."""
    return Uncertainty.of(by_seed, replicates, images).interval(float(by_seed.mean()), 0.95)


def plain_hierarchical(by_seed: np.ndarray, replicates: np.ndarray, images: int) -> tuple[float, float]:
    """Resample seeds with replacement in every replicate, and take percentiles."""
    seeds = len(by_seed)
    counts = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), size=len(replicates))
    return tuple(np.percentile((replicates * counts).sum(1) / seeds, [2.5, 97.5]))


def images_only(by_seed: np.ndarray, replicates: np.ndarray, images: int) -> tuple[float, float]:
    """Take percentiles over resampled images, with the seeds held fixed."""
    return tuple(np.percentile(replicates.mean(1), [2.5, 97.5]))


def interaction_twice(by_seed: np.ndarray, replicates: np.ndarray, images: int) -> tuple[float, float]:
    """Add the variances of the seeds and of the resampled mean; use the t quantile of the seeds."""
    half = math.sqrt(by_seed.var(ddof=1) / len(by_seed) + replicates.mean(1).var(ddof=1))
    half *= stdtrit(len(by_seed) - 1, 0.975)
    return float(by_seed.mean()) - half, float(by_seed.mean()) + half


def satterthwaite(by_seed: np.ndarray, replicates: np.ndarray, images: int) -> tuple[float, float]:
    """Use our standard error, and Student's t with Satterthwaite's degrees of freedom."""
    found = Uncertainty.of(by_seed, replicates, images)
    parts = found.seed_variance**2 / (found.seeds - 1) + found.image_variance**2 / (images - 1)
    half = stdtrit(found.se**4 / parts, 0.975) * found.se
    return float(by_seed.mean()) - half, float(by_seed.mean()) + half


METHODS: dict[str, Interval] = {
    "ours": ours,
    "seeds and images drawn, percentiles": plain_hierarchical,
    "images drawn, percentiles": images_only,
    "variances added, t of the seeds": interaction_twice,
    "Satterthwaite": satterthwaite,
}

SPREADS = {
    "seeds": (0.3, 0.0, 0.0),
    "seeds and images": (0.2, 0.6, 0.0),
    "images": (0.0, 2.0, 0.0),
    "interaction": (0.0, 0.0, 1.0),
}
"""Standard deviations of the quality of runs: between seeds, between images per arm, between images per seed."""


def linear_coverage(
    regime: Regime, seeds: int, methods: Iterable[Interval], experiments: int = 4000, images: int = 200, seed: int = 0
) -> np.ndarray:
    """Return the coverage of each method's interval for a metric that is a mean over images."""
    rng, methods = np.random.default_rng(seed), list(methods)
    held = np.zeros(len(methods))
    draws = draw_images(images, 400, seed).astype(float) / images
    for _ in range(experiments):
        values = linear_differences(rng, regime, seeds, images)
        replicates = draws @ values.T
        held += [low <= 0 <= high for low, high in (m(values.mean(1), replicates, images) for m in methods)]
    return held / experiments


def ap_coverage(
    spread: tuple[float, float, float],
    seeds: int,
    methods: Iterable[Interval],
    experiments: int = 400,
    images: int = 60,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Return the coverage of each method's interval for mAP, and the share of the seeds in the variance.

    The metric is mAP50-95 on simulated detections of two arms that differ by nothing but chance, so the truth is 0.
    """
    methods = list(methods)
    held, shares = np.zeros(len(methods)), []
    between, of_arm, of_seed = spread
    for number in range(experiments):
        rng = np.random.default_rng([seed, number])
        scene = make_scene(rng, images, classes=3, targets=5 * images)
        weights = np.concatenate([np.ones((1, images), np.uint8), draw_images(images, 200, number)])
        arms = []
        for by_image in rng.normal(0, of_arm, (2, images)):
            qualities = by_image + rng.normal(0, between, (seeds, 1)) + rng.normal(0, of_seed, (seeds, images))
            runs = [detect(rng, scene, 20, quality) for quality in qualities]
            arms.append([mean_average_precision(average_precision(run, weights)) for run in runs])
        differences = (np.array(arms[0]) - arms[1]).T
        found = [m(differences[0], differences[1:], images) for m in methods]
        held += [low <= 0 <= high for low, high in found]
        shares.append(Uncertainty.of(differences[0], differences[1:], images).seed_share)
    return held / experiments, float(np.mean(shares))


def evaluated_again(matches: Matches, weights: np.ndarray) -> float:
    """Return mAP50-95 of resampled images by explicit repetition of each."""
    return float(np.mean(list(classes_evaluated_again(matches, weights).values())))


def classes_evaluated_again(matches: Matches, weights: np.ndarray) -> dict[int, float]:
    """Return AP50-95 of resampled images by explicit repetition of each, by class with targets among them."""
    detections = np.repeat(np.arange(len(matches.image)), weights[matches.image])
    detections = detections[np.argsort(-matches.confidence[detections], kind="stable")]
    target_cls = np.repeat(matches.target_cls, weights[matches.target_image])
    found: dict[int, float] = {}
    for cls in np.unique(target_cls).tolist():
        own, total = detections[matches.cls[detections] == cls], np.count_nonzero(target_cls == cls)
        areas = []
        for correct in matches.correct[own].T:
            hits = correct.cumsum()
            precision = np.concatenate([[1.0], hits / np.arange(1, len(hits) + 1), [0.0]])
            recall = np.concatenate([[0.0], hits / total, [hits[-1] / total if len(hits) else 0.0]])
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            areas.append(_integral(np.interp(RECALLS, recall, envelope, right=0.0), RECALLS))
        found[cls] = float(np.mean(areas))
    return found


def largest_disagreement(replicates: int = 200, images: int = 100) -> float:
    """Return the largest difference of mAP50-95 between replicates and explicitly repeated images."""
    rng = np.random.default_rng(0)
    matches = detect(rng, make_scene(rng, images, 10, 7 * images), 100)
    draws = draw_images(images, replicates, 0)
    fast = mean_average_precision(average_precision(matches, draws))
    return max(abs(evaluated_again(matches, w) - f) for w, f in zip(draws, fast, strict=True))


def val2017_like(seed: int) -> Matches:
    """Return a run of the size of COCO val2017: 5,000 images, 80 classes, 36,000 boxes, 300 detections an image."""
    scene = make_scene(np.random.default_rng(0), 5000, 80, 36_000)
    return detect(np.random.default_rng([1, seed]), scene, 300, quality=0.05 * seed)


def cost(replicates: int = 1000) -> list[tuple[str, float, float, float]]:
    """Return per computation on val2017: name, seconds, CPU seconds, and peak memory of the largest process in GB."""
    runs = [val2017_like(0), val2017_like(1)]
    draws = draw_images(5000, replicates, 0)
    found = []
    for what, compute in (
        ("mAP of one run", lambda: average_precision(runs[0], draws)),
        ("one run, with sizes", lambda: resample(runs[0], draws)),
        ("two arms compared, two processes", lambda: compare_arms({"a": runs[:1], "b": runs[1:]}, workers=2)),
    ):
        began, busy = time.perf_counter(), sum(os.times()[:4])
        compute()
        seconds, busy = time.perf_counter() - began, sum(os.times()[:4]) - busy
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        found.append((what, seconds, busy, peak / 1e6))
    return found


def without_multiplicity(replicates: int = 1000) -> tuple[float, float]:
    """Return the standard error of a difference by the bootstrap, and if every drawn image counted once."""
    runs, draws = (val2017_like(0), val2017_like(1)), draw_images(5000, replicates, 0)
    errors = []
    for weights in (draws, np.minimum(draws, 1)):
        a, b = (mean_average_precision(average_precision(run, weights)) for run in runs)
        errors.append(float((b - a).std(ddof=1)))
    return errors[0], errors[1]


def to_markdown(
    log: Callable[[str], None] = lambda line: None, experiments: int = 4000, ap_experiments: int = 400
) -> str:
    """Check everything and return the tables.

    Args:
        log: Receives progress lines.
        experiments: Simulated comparisons for each row of the table of means.
        ap_experiments: The same, for each row of the table of mAP.
    """
    where = (
        f"{platform.machine()}, {os.cpu_count()} processors; Python {platform.python_version()}, NumPy {np.__version__}"
    )
    log("agreement, time, multiplicity")
    seconds = [[what, f"{s:.1f}", f"{busy:.1f}", f"{memory:.2f}"] for what, s, busy, memory in cost()]
    with_counts, without = without_multiplicity()
    sections = [
        where,
        _table(["1,000 replicates of 5,000 images", "seconds", "processor seconds", "largest process, GB"], seconds),
        f"Largest disagreement with repeated images, in mAP50-95: {largest_disagreement():.1e}.",
        f"Standard error by the bootstrap {with_counts:.5f}; with drawn images counted once {without:.5f}.",
    ]
    rows = []
    for name, regime in REGIMES.items():
        for seeds in (2, 3, 5, 10):
            log(f"means, {name}, {seeds} seeds")
            held = linear_coverage(regime, seeds, METHODS.values(), experiments)
            rows.append([name, str(seeds), *(f"{100 * h:.1f}" for h in held)])
    sections.append(_table([f"means, {experiments} experiments; variance from", "seeds", *METHODS], rows))
    rows = []
    for name, spread in SPREADS.items():
        for seeds in (2, 3, 5):
            log(f"mAP, {name}, {seeds} seeds")
            held, share = ap_coverage(spread, seeds, METHODS.values(), ap_experiments)
            rows.append([name, str(seeds), f"{share:.2f}", *(f"{100 * h:.1f}" for h in held)])
    head = [f"mAP50-95, {ap_experiments} experiments; variance from", "seeds", "share of the seeds", *METHODS]
    sections.append(_table(head, rows))
    return "\n\n".join(sections)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(table(head, rows))


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/check_statistics.py``: simulate and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="?", type=int, default=4000, help="simulated comparisons of means")
    parser.add_argument("ap_experiments", nargs="?", type=int, default=400, help="simulated comparisons of mAP")
    given = parser.parse_args(words)
    print(to_markdown(lambda line: print(line, file=sys.stderr), given.experiments, given.ap_experiments))
