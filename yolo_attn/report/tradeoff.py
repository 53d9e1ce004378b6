"""Draw accuracy against time, both relative to the baseline as in the table, with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from yolo_attn.report.drawing import Dot, Drawing, Group, Item, Shape, Stroke, Text, text_width
from yolo_attn.report.formatting import estimate, time_change
from yolo_attn.report.names import is_control, short_names
from yolo_attn.report.results import ArmResult, Results
from yolo_attn.report.scale import Scale, scale

_LEFT, _RIGHT, _TOP, _BOTTOM, _FEW = 66.0, 14.0, 12.0, 44.0, 8
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """A model's change in time, in percent, and difference in accuracy, with their intervals.

    Attributes:
        name: Name of the model.
        time: Change in time to the baseline, in percent.
        accuracy: Difference to the baseline.
        times: Interval of the time.
        accuracies: Interval of the accuracy.
        tone: ``better``, ``worse`` or ``muted``.
        important: Whether it is labelled in any case.
        title: Text on hovering.
    """

    name: str
    time: float
    accuracy: float
    times: tuple[float, float] = (0.0, 0.0)
    accuracies: tuple[float, float] = (0.0, 0.0)
    tone: str = "muted"
    important: bool = False
    title: str = ""


def draw_tradeoff(results: Results, width: float = 720.0, height: float = 420.0) -> Drawing | None:
    """Draw accuracy against time; ``None`` if no model but the baseline has both.

    Args:
        results: Results of a comparison.
        width: Width in pixels.
        height: Height in pixels.
    """
    measurement = results.main_measurement
    points = points_of(results)
    if measurement is None or len(points) < 2:
        return None
    across = scale([v for p in points for v in (p.time, *p.times)], zero=0.0, ticks=6 if width > 500 else 4)
    up = scale([v for p in points for v in (p.accuracy, *p.accuracies)], zero=0.0, ticks=6)
    view = _View(across, up, width, height)
    best = [view.place(p) for p in front(points)]
    items: list[Item] = [*view.axes(f"change in time, %, {measurement.setting}", results.primary)]
    if len(best) > 1:
        steps = [corner for a, b in pairwise(best) for corner in (a, (b[0], a[1]))]
        items.append(Stroke([*steps, best[-1]], "muted", dashed=True))
    labels = _labels(points, view, short_names(results, 28 if width > 500 else 18))
    items += [Group(_mark(p, view), p.title, p.name) for p in points]
    items += [Group(labels[p.name], p.title, p.name) for p in points if p.name in labels]
    return Drawing(width, height, items)


def points_of(results: Results) -> list[Point]:
    """Return every model that has been timed and compared, and the baseline."""
    found = [p for p in (_point(results, arm) for arm in results.arms) if p]
    return found if results.timing(results.baseline_arm) else []


def front(points: Iterable[Point]) -> list[Point]:
    """Return the Pareto front: the points that no other dominates, from fast to slow."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.time, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _point(results: Results, arm: ArmResult) -> Point | None:
    if arm.name == results.baseline:
        return Point(arm.name, 0.0, 0.0, tone="text", important=True, title=f"{arm.name}, the baseline")
    timed, found = results.timing(arm), arm.difference.get(results.primary)
    if timed is None or found is None:
        return None
    time, *times = (100 * (ratio - 1) for ratio in (timed.ratio, timed.ratio_low, timed.ratio_high))
    clear = found.verdict in ("better", "worse")
    change = time_change(timed.ratio, timed.ratio_low, timed.ratio_high)
    return Point(
        arm.name, time, found.estimate, (times[0], times[1]), (found.low, found.high),
        tone=str(found.verdict) if clear else "muted", important=clear,
        title=f"{arm.name}{f' ({arm.kind})' if is_control(arm) else ''}: {estimate(found)}, {change}",
    )  # fmt: skip


@dataclass(frozen=True)
class _View:
    across: Scale
    up: Scale
    width: float
    height: float

    def place(self, point: Point) -> tuple[float, float]:
        return self.x(point.time), self.y(point.accuracy)

    def x(self, time: float) -> float:
        return _LEFT + self.across(time) * (self.width - _LEFT - _RIGHT)

    def y(self, accuracy: float) -> float:
        return self.height - _BOTTOM - self.up(accuracy) * (self.height - _TOP - _BOTTOM)

    def axes(self, time: str, metric: str) -> list[Shape]:
        left, right, top, bottom = _LEFT, self.width - _RIGHT, _TOP, self.height - _BOTTOM
        shapes: list[Shape] = []
        for tick, label in zip(self.across.ticks, self.across.labels(), strict=True):
            shapes.append(Stroke([(self.x(tick), top), (self.x(tick), bottom)], "muted" if not tick else "line"))
            shapes.append(Text(self.x(tick), bottom + 16, label, "muted", "middle", 11))
        for tick, label in zip(self.up.ticks, self.up.labels(), strict=True):
            shapes.append(Stroke([(left, self.y(tick)), (right, self.y(tick))], "muted" if not tick else "line"))
            shapes.append(Text(left - 6, self.y(tick) + 4, label, "muted", "end", 11))
        shapes.append(Text((left + right) / 2, self.height - 8, time, anchor="middle"))
        shapes.append(Text(14, (top + bottom) / 2, f"difference in {metric}", anchor="middle", turned=True))
        return shapes


def _mark(point: Point, view: _View) -> list[Shape]:
    x, y = view.place(point)
    width = 1.6 if point.tone != "muted" else 1.0
    shapes: list[Shape] = []
    if point.times[0] < point.times[1]:
        shapes.append(Stroke([(view.x(point.times[0]), y), (view.x(point.times[1]), y)], point.tone, width))
    if point.accuracies[0] < point.accuracies[1]:
        ends = [(x, view.y(point.accuracies[0])), (x, view.y(point.accuracies[1]))]
        shapes.append(Stroke(ends, point.tone, width))
    return [*shapes, Dot(x, y, point.tone, filled=point.tone != "muted", radius=5)]


# --- labels -----------------------------------------------------------------------------------------------------------
def _labels(points: Sequence[Point], view: _View, names: dict[str, str]) -> dict[str, list[Shape]]:
    """Return labels that meet no other label and no point: of the important points first, of others where room is."""
    on_front = {p.name for p in front(points)}
    taken: list[Box] = [_around(*view.place(p)) for p in points]
    found: dict[str, list[Shape]] = {}
    for point in sorted(points, key=lambda p: (not p.important, p.name not in on_front)):
        needed = point.important or point.name in on_front or len(points) <= _FEW
        size = 12.0 if needed else 10.0
        for distance in (0, 14, 28, 42, 56) if needed else (0,):
            places = _places(point, view, names[point.name], size, distance)
            if free := [(text, box) for text, box in places if _free(box, taken) and _inside(box, view)]:
                text, box = free[0]
                found[point.name] = [*(_leader(point, view, box) if distance else ()), text]
                taken.append(box)
                break
    return found


def _places(point: Point, view: _View, name: str, size: float, distance: float) -> list[tuple[Text, Box]]:
    x, y = view.place(point)
    wide, tone = text_width(name, size), "muted" if point.tone == "muted" else point.tone
    away = 8 + distance
    places = [
        (x + away, y - 6 - distance), (x + away, y + 14 + distance), (x - away - wide, y - 6 - distance),
        (x - away - wide, y + 14 + distance), (x + away, y + 4), (x - away - wide, y + 4),
        (x - wide / 2, y - away - 3), (x - wide / 2, y + away + 10),
    ]  # fmt: skip
    bold = point.important
    return [
        (Text(left, base, name, tone, size=size, bold=bold), (left, base - size, left + wide, base + 3))
        for left, base in places
    ]


def _leader(point: Point, view: _View, box: Box) -> list[Shape]:
    x, y = view.place(point)
    near = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
    return [Stroke([(x, y), near], "muted", 0.8)]


def _around(x: float, y: float) -> Box:
    return x - 6, y - 6, x + 6, y + 6


def _free(box: Box, taken: Sequence[Box]) -> bool:
    left, top, right, bottom = box
    return all(right < a or c < left or bottom < b or d < top for a, b, c, d in taken)


def _inside(box: Box, view: _View) -> bool:
    return box[0] >= _LEFT and box[2] <= view.width - 2 and box[1] >= 2 and box[3] <= view.height - _BOTTOM
