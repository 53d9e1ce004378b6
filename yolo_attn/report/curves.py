"""Draw learning curves: one panel per model, with the baseline in grey."""

from __future__ import annotations

import math
import statistics

from yolo_attn.report.drawing import Area, Dot, Drawing, Shape, Stroke, Text
from yolo_attn.report.names import ordered
from yolo_attn.report.results import Curve, Results
from yolo_attn.report.scale import Scale, scale

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300.0, 170.0, 48.0, 10.0, 6.0, 34.0


def draw_curves(results: Results) -> dict[str, Drawing]:
    """Draw mean and range over seeds by epoch, by model; empty where no curve is stored."""
    reference = results.baseline_arm.curve
    curves = {arm.name: arm.curve for arm in ordered(results) if arm.curve}
    drawn = {name: curve for name, curve in curves.items() if name != results.baseline} or curves
    if not drawn:
        return {}
    values = [v for curve in curves.values() for row in curve.by_seed for v in row if _is_number(v)]
    epochs = [e for curve in curves.values() for e in curve.epochs]
    across, up = scale(epochs, ticks=5), scale(values, ticks=4)
    across = Scale(across.low, across.high, tuple(t for t in across.ticks if t == int(t)))
    return {name: _panel(curve, reference, across, up) for name, curve in drawn.items()}


def means(curve: Curve) -> list[tuple[int, float]]:
    """Return epochs with the mean over the seeds that reached them."""
    return [(epoch, statistics.fmean(found)) for epoch, found in _by_epoch(curve)]


def _by_epoch(curve: Curve) -> list[tuple[int, list[float]]]:
    """Return epochs with the values of the seeds that reached them."""
    columns = [[row[k] for row in curve.by_seed if k < len(row)] for k in range(len(curve.epochs))]
    held = [(epoch, [v for v in column if _is_number(v)]) for epoch, column in zip(curve.epochs, columns, strict=True)]
    return [(epoch, [float(v) for v in found if v is not None]) for epoch, found in held if found]


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _panel(curve: Curve, reference: Curve | None, across: Scale, up: Scale) -> Drawing:
    shapes = _axes(curve.quantity, across, up)
    if reference is not None and reference is not curve:
        shapes += _curve(reference, across, up, "muted", 1.2)
    shapes += _curve(curve, across, up, "muted" if curve is reference else "accent", 2.0)
    return Drawing(_WIDTH, _HEIGHT, shapes)


def _curve(curve: Curve, across: Scale, up: Scale, tone: str, width: float) -> list[Shape]:
    found = _by_epoch(curve)
    if not found:
        return []
    highest = [_place(e, max(values), across, up) for e, values in found]
    lowest = [_place(e, min(values), across, up) for e, values in found]
    line = [_place(e, statistics.fmean(values), across, up) for e, values in found]
    if len(line) == 1:
        return [Dot(*line[0], tone, radius=3)]
    band: list[Shape] = [Area([*highest, *reversed(lowest)], tone)] if len(curve.by_seed) > 1 else []
    return [*band, Stroke(line, tone, width)]


def _place(epoch: float, value: float, across: Scale, up: Scale) -> tuple[float, float]:
    x = _LEFT + across(epoch) * (_WIDTH - _LEFT - _RIGHT)
    return x, _HEIGHT - _BOTTOM - up(value) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(quantity: str, across: Scale, up: Scale) -> list[Shape]:
    bottom = _HEIGHT - _BOTTOM
    shapes: list[Shape] = []
    for tick, label in zip(up.ticks, up.labels(), strict=True):
        y = _place(0, tick, across, up)[1]
        shapes.append(Stroke([(_LEFT, y), (_WIDTH - _RIGHT, y)], "line"))
        shapes.append(Text(_LEFT - 5, y + 4, label, "muted", "end", 11))
    for tick, label in zip(across.ticks, across.labels(), strict=True):
        x = _place(tick, up.low, across, up)[0]
        shapes.append(Stroke([(x, bottom), (x, bottom + 4)], "muted"))
        shapes.append(Text(x, bottom + 15, label, "muted", "middle", 11))
    shapes.append(Stroke([(_LEFT, bottom), (_WIDTH - _RIGHT, bottom)], "muted"))
    return [*shapes, Text(_WIDTH - _RIGHT, _HEIGHT - 4, f"{quantity} by epoch", "muted", "end", 11)]
