"""What raw times say: medians, and each arm's time over the baseline's with an interval. Nothing is measured here.

The ratio of an arm is the median over rounds of its time divided by the baseline's of the same round; what slows the
machine for longer than a round cancels in it. Its interval lies between two order statistics, as in the sign test: it
assumes no distribution, and one wild round moves it by one rank. What is left of the machine's moods in successive
ratios makes them count for fewer than there are, by their autocorrelation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from yolo_attn.report.results import LeftOut, Measurement, SpeedResult, Timing

SPREAD_LIMIT = 1.5
"""A measurement whose baseline has a 95th percentile this many times the 5th is called unstable."""

DRIFT_LIMIT = 1.1
"""And so is one whose baseline became this many times slower or faster from its first to its last third."""

_AT_MOST = 0.9  # autocorrelation that is believed; beyond it a series is too short to tell


def summarize(records: Sequence[Mapping[str, Any]]) -> SpeedResult:
    """Summarize the raw lines of a complete measurement.

    Args:
        records: What :func:`yolo_attn.speed.spec.read_raw` returns.
    """
    header, spec = records[0], records[0]["spec"]
    return SpeedResult(
        device=spec["device"],
        imgsz=spec["imgsz"],
        baseline=spec["baseline"],
        memory_format=header["memory_format"],
        environment=header["environment"],
        measurements=tuple(
            _measurement(record, _times_of(record, records), spec["baseline"])
            for record in records
            if record["kind"] == "measurement"
        ),
        left_out=tuple(
            LeftOut(batch=record["batch"], precision=record["precision"], why=record["why"])
            for record in records
            if record["kind"] == "left out"
        ),
    )


def milliseconds(times: np.ndarray) -> dict[str, float]:
    """Return ``median_ms``, ``p5_ms`` and ``p95_ms`` of a series of times."""
    p5, median, p95 = np.percentile(times, (5, 50, 95))
    return {"median_ms": float(median), "p5_ms": float(p5), "p95_ms": float(p95)}


def ratio(times: np.ndarray, over: np.ndarray) -> dict[str, float]:
    """Return the ``ratio`` of two series taken round by round, with its 95 % interval ``ratio_low``, ``ratio_high``."""
    ratios = times / over
    (low,), (high,) = median_interval(ratios[None])
    return {"ratio": float(np.median(ratios)), "ratio_low": float(low), "ratio_high": float(high)}


def median_interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return an interval for the median of each row, a time series whose successive values may be correlated.

    In simulated noise with heavy tails it covers the median of 20 to 200 values in 93 to 98 % of cases, up to an
    autocorrelation of 0.6; at 0.8 in 87 to 93 %.

    Args:
        values: Shape ``(series, times)``.
        level: Probability with which the interval covers the median.

    Returns:
        Lower and upper ends, shape ``(series,)`` each.
    """
    n = values.shape[1]
    half = NormalDist().inv_cdf((1 + level) / 2) * n / (2 * np.sqrt(effective_number(values)))
    low = np.maximum((n - 1) / 2 - half, 0)
    ordered = np.sort(values, axis=1)
    return _at_rank(ordered, low), _at_rank(ordered, n - 1 - low)


def effective_number(values: np.ndarray) -> np.ndarray:
    """Return as how many independent values those of each row count, at most as many as there are.

    For an autocorrelation ``r`` that falls off geometrically it is ``n (1 - r) / (1 + r)``. ``r`` is that of the ranks,
    from one value to the next or, if larger, the root of that to the next but one, so that a slow part under fast
    noise is seen; both are corrected for being too small in short series.

    Args:
        values: Shape ``(series, times)``.
    """
    n = values.shape[1]
    if n < 4:
        return np.full(len(values), float(n))
    ranks = values.argsort(axis=1).argsort(axis=1) - (n - 1) / 2
    first, second = ((ranks[:, lag:] * ranks[:, :-lag]).sum(axis=1) / (ranks**2).sum(axis=1) for lag in (1, 2))
    first = first + (1 + 4 * first.clip(0)) / n
    second = second + (1 + 2 * first.clip(0)) / n
    slow = np.sqrt(second.clip(0)) * (first > 0)
    r = np.maximum(first, slow).clip(0, _AT_MOST)
    return n * (1 - r) / (1 + r)


def stability(times: np.ndarray) -> dict[str, float | bool]:
    """Return ``spread`` and ``drift`` of a series of times, and whether these make it ``unstable``."""
    low, high = np.percentile(times, (5, 95))
    third = max(1, len(times) // 3)
    spread, drift = float(high / low), float(np.median(times[-third:]) / np.median(times[:third]))
    unstable = spread > SPREAD_LIMIT or max(drift, 1 / drift) > DRIFT_LIMIT
    return {"unstable": bool(unstable), "spread": spread, "drift": drift}


def _at_rank(ordered: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return each row's value at a rank from 0, between two of them where the rank is no whole number."""
    below = np.floor(rank).astype(int)
    above = np.ceil(rank).astype(int)
    rows = np.arange(len(ordered))
    return ordered[rows, below] + (rank - below) * (ordered[rows, above] - ordered[rows, below])


def _times_of(measurement: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Return a measurement's milliseconds by arm, round by round."""
    which = (measurement["batch"], measurement["precision"])
    rounds = [r["milliseconds"] for r in records if r["kind"] == "round" and (r["batch"], r["precision"]) == which]
    return {arm: np.array([times[arm] for times in rounds]) for arm in measurement["peak_memory_mb"]}


def _measurement(record: Mapping[str, Any], times: Mapping[str, np.ndarray], baseline: str) -> Measurement:
    return Measurement(
        batch=record["batch"],
        precision=record["precision"],
        rounds=len(times[baseline]),
        **stability(times[baseline]),
        arms={
            arm: Timing(
                **milliseconds(series),
                images_per_second=float(record["batch"] * 1e3 / np.median(series)),
                **ratio(series, times[baseline]),
                peak_memory_mb=record["peak_memory_mb"][arm],
            )
            for arm, series in times.items()
        },
    )
