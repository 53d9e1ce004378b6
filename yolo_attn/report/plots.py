"""Draw the plots of a comparison as files beside the report."""

from __future__ import annotations

from collections.abc import Mapping

from yolo_attn.report import forest
from yolo_attn.report.classes import draw_classes
from yolo_attn.report.curves import draw_curves
from yolo_attn.report.drawing import Drawing
from yolo_attn.report.forest import Column, forest_plot
from yolo_attn.report.formatting import bounds, decimals, estimate
from yolo_attn.report.grid import below, grid
from yolo_attn.report.names import is_control, ordered, short_names
from yolo_attn.report.results import ArmResult, Results
from yolo_attn.report.tradeoff import draw_tradeoff

NAMES = ("differences", "tradeoff", "curves", "metrics", "classes", "speed")


def draw(results: Results) -> dict[str, Drawing]:
    """Draw all plots for which there are results.

    Args:
        results: Results of a comparison.

    Returns:
        Drawings by name, among ``NAMES``, in that order.
    """
    drawn = {
        "differences": _differences(results),
        "tradeoff": draw_tradeoff(results),
        "curves": _panels(results, draw_curves(results)),
        "metrics": _metrics(results),
        "classes": _panels(results, draw_classes(results)),
        "speed": _speed(results),
    }
    made = {name: drawing for name, drawing in drawn.items() if drawing is not None}
    return {name: below(results.note, drawing) for name, drawing in made.items()} if results.note else made


def _panels(results: Results, panels: Mapping[str, Drawing]) -> Drawing | None:
    names = short_names(results)
    return grid([(names[arm], drawing) for arm, drawing in panels.items()]) if panels else None


def _differences(results: Results) -> Drawing | None:
    metric = results.primary
    arms = _compared(results, metric)
    if not arms:
        return None
    column = _differences_column(arms, metric)
    digits = decimals(bounds(arm.difference[metric] for arm in arms))
    texts = [estimate(arm.difference[metric], digits) for arm in arms]
    title = f"{metric}: difference to {results.baseline}"
    return forest_plot(_names(results, arms), [Column(title, column.rows, texts)], _controls(arms), width=330)


def _metrics(results: Results) -> Drawing | None:
    arms = [arm for arm in ordered(results) if arm.difference]
    columns = [_differences_column(arms, metric) for metric in results.metrics if _compared(results, metric)]
    return forest_plot(_names(results, arms), columns, _controls(arms), width=140) if len(columns) > 1 else None


def _differences_column(arms: list[ArmResult], metric: str) -> Column:
    found = [arm.difference.get(metric) for arm in arms]
    on = forest.differences_scale(d for d in found if d)
    return Column(metric, [forest.of_difference(d, on) if d else None for d in found])


def _speed(results: Results) -> Drawing | None:
    timed = [{k: t for k, t in m.arms.items() if k != results.baseline} for m in results.measurements]
    arms = [arm for arm in ordered(results) if any(arm.name in found for found in timed)]
    columns = []
    for measurement, found in zip(results.measurements, timed, strict=True):
        if found:
            on = forest.times_scale(found.values())
            rows = [forest.of_timing(found[a.name], on) if a.name in found else None for a in arms]
            columns.append(Column(f"time ratio, {measurement.setting}", rows))
    return forest_plot(_names(results, arms), columns, _controls(arms), width=210) if columns else None


def _compared(results: Results, metric: str) -> list[ArmResult]:
    return [arm for arm in ordered(results) if metric in arm.difference]


def _controls(arms: list[ArmResult]) -> int:
    return sum(map(is_control, arms))


def _names(results: Results, arms: list[ArmResult]) -> list[str]:
    names = short_names(results)
    return [names[arm.name] for arm in arms]
