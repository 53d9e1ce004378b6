"""mAP against latency, with the intervals of both and the Pareto front of the point estimates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolo_attn.report.plot_forest import GREY, WIDTH, shorten
from yolo_attn.report.read import (
    Arm,
    Summary,
    arms,
    baseline,
    difference,
    look,
    main_measurement,
    mean,
    primary,
    setting,
)

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SHAPES = "osD^vP"


@dataclass(frozen=True)
class Point:
    """A model's place, in ms and mAP, and its intervals, where there are any."""

    name: str
    time: float
    accuracy: float
    times: tuple[float, float] | None = None
    accuracies: tuple[float, float] | None = None


def draw_tradeoff(summary: Summary) -> Figure | None:
    """Draw mAP against latency; ``None`` where fewer than two models have both.

    A model stands where its estimated difference and ratio put it from the baseline, so that point and interval are
    those of the paired comparison.
    """
    points = [p for p in (_point(summary, arm) for arm in arms(summary)) if p]
    if len(points) < 2:
        return None
    figure = Figure(figsize=(WIDTH, max(4.2, 1.2 + 0.22 * len(points))))
    axes = figure.subplots()
    _draw_front(axes, points)
    for point, (shape, colour) in zip(points, _looks(summary, points), strict=True):
        _draw_point(axes, point, shape, colour)
    axes.set_xlabel(f"latency, ms ({setting(main_measurement(summary))})")
    axes.set_ylabel(primary(summary))
    axes.margins(0.08)
    _add_relative_scales(axes, summary, next((p for p in points if p.name == look(summary, "baseline")), None))
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def front(points: list[Point]) -> list[Point]:
    """Return the points that no other beats in one and equals or beats in the other, from fast to slow."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.time, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _point(summary: Summary, arm: Arm) -> Point | None:
    metric, timed = primary(summary), look(main_measurement(summary), "arms", arm["name"])
    base = baseline(summary)
    time, accuracy = look(timed, "median_ms"), mean(arm, metric)
    if time is None or accuracy is None:
        return None
    base_time, base_accuracy = look(main_measurement(summary), "arms", look(base, "name")), mean(base, metric)
    base_time, found = look(base_time, "median_ms"), difference(arm, metric)
    times = accuracies = None
    if base_time is not None and look(timed, "ratio") is not None and arm is not base:
        time, times = base_time * timed["ratio"], _scaled(timed, base_time)
    if base_accuracy is not None and found:
        accuracy, accuracies = base_accuracy + found["estimate"], _shifted(found, base_accuracy)
    return Point(arm["name"], time, accuracy, times, accuracies)


def _scaled(timed: Arm, base: float) -> tuple[float, float] | None:
    low, high = timed.get("ratio_low"), timed.get("ratio_high")
    return None if low is None or high is None else (base * low, base * high)


def _shifted(found: Arm, base: float) -> tuple[float, float] | None:
    low, high = found.get("low"), found.get("high")
    return None if low is None or high is None else (base + low, base + high)


def _looks(summary: Summary, points: list[Point]) -> list[tuple[str, str]]:
    pairs = cycle([(_SHAPES[(k + turn) % 6], _COLOURS[k]) for turn in range(6) for k in range(6)])
    return [("*", GREY) if p.name == look(summary, "baseline") else next(pairs) for p in points]


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


def _add_relative_scales(axes: Axes, summary: Summary, base: Point | None) -> None:
    if base is None:
        return
    above = axes.secondary_xaxis("top", functions=(lambda x: x / base.time, lambda r: r * base.time))
    above.set_xlabel(f"time ratio to {shorten(base.name)}")
    beside = axes.secondary_yaxis("right", functions=(lambda y: y - base.accuracy, lambda d: d + base.accuracy))
    beside.set_ylabel(f"difference to {shorten(base.name)}", labelpad=8)
