"""Draw mAP against latency, with intervals of both and the Pareto front of the point estimates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolo_attn.report.plot_forest import GREY, WIDTH, shorten
from yolo_attn.report.results import ArmResult, Results

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SHAPES = "osD^vP"


@dataclass(frozen=True)
class Point:
    """Latency in ms and mAP of a model, with their intervals if known."""

    name: str
    time: float
    accuracy: float
    times: tuple[float, float] | None = None
    accuracies: tuple[float, float] | None = None


def draw_tradeoff(results: Results) -> Figure | None:
    """Draw mAP against latency; ``None`` if fewer than two models have both.

    The position of a model is that of the baseline plus the estimated difference and times the estimated ratio, so
    point and interval are those of the paired comparison.
    """
    measurement = results.main_measurement
    points = [p for p in (_point(results, arm) for arm in results.arms) if p]
    if measurement is None or len(points) < 2:
        return None
    figure = Figure(figsize=(WIDTH, max(4.2, 1.2 + 0.22 * len(points))))
    axes = figure.subplots()
    _draw_front(axes, points)
    for point, (shape, colour) in zip(points, _markers(results, points), strict=True):
        _draw_point(axes, point, shape, colour)
    axes.set_xlabel(f"latency, ms ({measurement.setting})")
    axes.set_ylabel(results.primary)
    axes.margins(0.08)
    _add_relative_scales(axes, next((p for p in points if p.name == results.baseline), None))
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def front(points: list[Point]) -> list[Point]:
    """Return the Pareto front: the points that no other dominates, from fast to slow."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.time, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _point(results: Results, arm: ArmResult) -> Point | None:
    metric, base = results.primary, results.baseline_arm
    timed, accuracy = results.timing(arm), arm.mean(metric)
    if timed is None or accuracy is None:
        return None
    time, times, accuracies = timed.median_ms, None, None
    if (base_timed := results.timing(base)) and arm is not base:
        scale = base_timed.median_ms
        time, times = scale * timed.ratio, (scale * timed.ratio_low, scale * timed.ratio_high)
    base_accuracy, found = base.mean(metric), arm.difference.get(metric)
    if base_accuracy is not None and found:
        accuracy = base_accuracy + found.estimate
        accuracies = (base_accuracy + found.low, base_accuracy + found.high)
    return Point(arm.name, time, accuracy, times, accuracies)


def _markers(results: Results, points: list[Point]) -> list[tuple[str, str]]:
    pairs = cycle([(_SHAPES[(k + turn) % 6], _COLOURS[k]) for turn in range(6) for k in range(6)])
    return [("*", GREY) if p.name == results.baseline else next(pairs) for p in points]


def _draw_point(axes: Axes, point: Point, shape: str, colour: str) -> None:
    if point.times:
        axes.plot(point.times, [point.accuracy] * 2, color=colour, linewidth=1.3, alpha=0.6)
    if point.accuracies:
        axes.plot([point.time] * 2, point.accuracies, color=colour, linewidth=1.3, alpha=0.6)
    size = 13 if shape == "*" else 7.5
    label = shorten(point.name)
    axes.plot(point.time, point.accuracy, shape, color=colour, markersize=size, markeredgecolor="white", label=label)


def _draw_front(axes: Axes, points: list[Point]) -> None:
    best = front(points)
    times, accuracies = [p.time for p in best], [p.accuracy for p in best]
    label = "front of the estimates" if len(best) > 1 else None
    axes.step(times, accuracies, where="post", color="#444444", linestyle="--", linewidth=1, zorder=1.5, label=label)


def _add_relative_scales(axes: Axes, base: Point | None) -> None:
    if base is None:
        return
    time, accuracy = base.time, base.accuracy
    above = axes.secondary_xaxis("top", functions=(lambda x: np.divide(x, time), lambda r: np.multiply(r, time)))
    above.set_xlabel(f"time ratio to {shorten(base.name)}")
    shift = (lambda y: np.subtract(y, accuracy), lambda d: np.add(d, accuracy))
    beside = axes.secondary_yaxis("right", functions=shift)
    beside.set_ylabel(f"difference to {shorten(base.name)}", labelpad=8)
