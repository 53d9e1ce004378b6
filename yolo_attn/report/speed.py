"""The sections on accuracy against time, and on speed and cost of training."""

from __future__ import annotations

from yolo_attn.report import forest
from yolo_attn.report.cells import named
from yolo_attn.report.formatting import (
    MISSING,
    apart,
    bounds_of_ratio,
    count,
    decimals,
    interval_name,
    number,
    significant,
    with_interval,
    with_range,
)
from yolo_attn.report.main_table import CONTROLS, measured, measured_where
from yolo_attn.report.names import dropped_prefix, is_control, ordered
from yolo_attn.report.parts import Axis, Block, Cell, Line, Muted, Panel, Paragraph, Part, Picture, Row, Section, Table
from yolo_attn.report.results import ArmResult, Measurement, Results, Timing
from yolo_attn.report.scale import Scale
from yolo_attn.report.tradeoff import draw_tradeoff


def tradeoff_section(results: Results) -> Section:
    """Return the plot of accuracy against time."""
    title = "Accuracy against time"
    wide, narrow = draw_tradeoff(results), draw_tradeoff(results, 350, 380)
    if wide is None:
        return Section("tradeoff", title)
    prefix = dropped_prefix(results)
    caption = (
        f"Relative to {results.baseline}, as in the table; better is up, faster is left. Bars: "
        f"{interval_name(results)}s. Filled: significant in {results.primary}. Dashed: the Pareto front of the "
        "estimates; models with overlapping bars are not ranked."
    )
    caption += f' Names without "{prefix}".' if prefix else ""
    alternative = f"Difference in {results.primary} against change in time, one point per model, as in the table."
    picture = Picture("tradeoff", alternative, caption, [Panel(wide)], narrow)
    return Section("tradeoff", title, [picture])


def speed_section(results: Results) -> Section:
    """Return times at all batch sizes and precisions, and the cost of training."""
    title = "Speed and cost"
    if not results.measurements:
        blocks: list[Block] = [Paragraph("Speed was not measured."), *_training(results)]
        return Section("speed", title, blocks, folded=True)
    tables = [_table(results, measurement) for measurement in results.measurements]
    where = Paragraph([Muted(f"Measured on {measured_where(results)}.")])
    picture = Picture("speed", "Ratios of times to the baseline.", "As in the tables.")
    return Section("speed", title, [where, *tables, picture, *_training(results)], folded=True)


def _table(results: Results, measurement: Measurement) -> Table:
    timed = {arm.name: measurement.arms[arm.name] for arm in ordered(results) if arm.name in measurement.arms}
    others = [t for name, t in timed.items() if name != results.baseline]
    on = forest.times_scale(others) if others else None
    digits = decimals((bounds_of_ratio(t) for t in others), otherwise=3)
    axis: list[Part] = [Axis(on)] if on else []
    ratio: Line = [f"time / that of {results.baseline}", Muted(f" [{interval_name(results)}]"), *axis]
    head: list[Line] = ["model", ratio, ["latency, ms", Muted(" median (p5–p95)")], "images/s", "peak memory, MB"]
    rows = [
        _row(results, arm, [_ratio(results, arm, timed[arm.name], on, digits), *_cells(timed[arm.name])])
        for arm in ordered(results)
        if arm.name in timed
    ]
    title = measured(results, measurement).split(", images")[0].capitalize()
    title += " (unstable)" if measurement.unstable else ""
    return Table(title, head, rows, frozenset({0, 1}), headed=True, stacked=True, sortable=True)


def _ratio(results: Results, arm: ArmResult, timed: Timing, on: Scale | None, digits: int) -> Cell:
    if arm.name == results.baseline or on is None:
        return Cell(MISSING, timed.ratio)
    text = with_interval(timed.ratio, timed.ratio_low, timed.ratio_high, digits)
    return Cell([*apart(text), forest.of_timing(timed, on)], timed.ratio)


def _cells(timed: Timing) -> list[Cell]:
    return [
        Cell(apart(with_range(timed.median_ms, timed.p5_ms, timed.p95_ms)), timed.median_ms),
        Cell(significant(timed.images_per_second), timed.images_per_second),
        Cell(count(timed.peak_memory_mb), timed.peak_memory_mb),
    ]


def _training(results: Results) -> list[Block]:
    rows = [_row(results, arm, _training_cells(results, arm)) for arm in ordered(results) if arm.epoch_seconds]
    if not rows:
        return [Paragraph("Training time was not stored.")]
    head = ["model", "seconds per epoch, fastest", "ratio", "peak memory, MB"]
    return [Table("Training", head, rows, headed=True, sortable=True)]


def _training_cells(results: Results, arm: ArmResult) -> list[Cell]:
    seconds, reference = arm.epoch_seconds, results.baseline_arm.epoch_seconds
    ratio = seconds / reference if seconds and reference else None
    return [
        Cell(significant(seconds), seconds),
        Cell(number(ratio, 2), ratio),
        Cell(count(arm.peak_memory_mb), arm.peak_memory_mb),
    ]


def _row(results: Results, arm: ArmResult, cells: list[Cell]) -> Row:
    group = CONTROLS if is_control(arm) else ""
    return Row([named(results, arm), *cells], arm.name, group, fixed=arm.name == results.baseline)
