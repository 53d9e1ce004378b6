"""The table of the report: every model's difference, verdict and cost, the controls below a rule."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_attn.report import forest
from yolo_attn.report.cells import mean_and_sd, named, seeds_note
from yolo_attn.report.formatting import (
    MISSING,
    apart,
    bounds,
    decimals,
    estimate,
    interval_name,
    number,
    p_value,
    plural,
    significant,
    time_change,
    with_range,
)
from yolo_attn.report.names import is_control, ordered
from yolo_attn.report.parts import Axis, Cell, Line, Muted, Part, Row, Table, Verdict
from yolo_attn.report.results import ArmResult, Measurement, Results, Timing
from yolo_attn.report.scale import Scale

CONTROLS = "Controls"


def main_table(results: Results) -> Table:
    """Return the table, sorted by the estimated difference."""
    metric, measurement, level = results.primary, results.main_measurement, interval_name(results)
    found = [arm.difference[metric] for arm in results.arms if metric in arm.difference]
    on = forest.differences_scale(found) if found else None
    digits = _Digits(decimals(bounds([d for d in found if d.verdict] or found)), on)
    axis: list[Part] = [Axis(on)] if on else []
    head: list[Line] = ["model", [f"difference in {metric}", Muted(f" [{level}]"), *axis]]
    head += [["verdict", Muted(" (p, Holm)")], [metric, Muted(" mean ± sd")]]
    if measurement:
        head += [["time", Muted(f" (batch {measurement.batch}) [{level}]")], ["latency, ms", Muted(" median (p5–p95)")]]
    head += ["params, M", "GFLOPs"]
    rows = [_row(results, arm, digits) for arm in ordered(results)]
    title = f"Models, their difference in {metric} to {results.baseline}, and their cost"
    words = frozenset({0, 1, 2})
    return Table(title, head, rows, words, stacked=True, sortable=True, sorted_by=1, caption=caption(results))


@dataclass(frozen=True)
class _Digits:
    """Decimals and scale of the differences."""

    decimals: int
    on: Scale | None


def _row(results: Results, arm: ArmResult, digits: _Digits) -> Row:
    found, timed = arm.difference.get(results.primary), results.timing(arm)
    difference: list[Part] = apart(estimate(found, digits.decimals)) if found else [MISSING]
    if found and digits.on:
        difference.append(forest.of_difference(found, digits.on))
    cells: list[Line | Cell] = [
        named(results, arm),
        Cell(difference, found.estimate if found else 0.0 if arm.name == results.baseline else None),
        Cell(_verdict(results, arm), found.p_holm if found and found.verdict else None),
        Cell(_mean(results, arm, digits.decimals), arm.mean(results.primary)),
    ]
    if results.main_measurement:
        cells += [
            Cell(_time(results, arm, timed), timed.ratio if timed else None),
            Cell(_latency(timed), timed.median_ms if timed else None),
        ]
    millions = arm.parameters / 1e6 if arm.parameters is not None else None
    cells += [Cell(number(millions, 3), millions), Cell(significant(arm.gflops), arm.gflops)]
    return Row(cells, arm.name, CONTROLS if is_control(arm) else "", fixed=arm.name == results.baseline)


def _verdict(results: Results, arm: ArmResult) -> Line:
    found = arm.difference.get(results.primary)
    if found and found.verdict:
        return [Verdict(found.verdict), Muted(f" p = {p_value(found.p_holm)}".replace("= <", "<"))]
    if arm.name == results.baseline:
        return MISSING
    if not arm.is_complete:
        return "no complete run"
    if found and is_control(arm) and not any([found.estimate, found.low, found.high, *found.by_seed]):
        return "equal in every run"
    if found is None:
        return "not compared with a baseline"
    return "not tested, with one seed" if len(found.by_seed) == 1 else "not tested"


def _mean(results: Results, arm: ArmResult, digits: int) -> Line:
    return [*mean_and_sd(arm, results.primary, digits), *seeds_note(results, arm)]


def _time(results: Results, arm: ArmResult, timed: Timing | None) -> Line:
    if timed is None:
        return MISSING
    if arm.name == results.baseline:
        return MISSING if timed.ratio == 1 else apart(time_change(timed.ratio, timed.ratio_low, timed.ratio_high))
    return apart(time_change(timed.ratio, timed.ratio_low, timed.ratio_high))


def _latency(timed: Timing | None) -> Line:
    return apart(with_range(timed.median_ms, timed.p5_ms, timed.p95_ms)) if timed else MISSING


def caption(results: Results) -> str:
    """Return what was counted, how it was tested, and on what the times were measured."""
    metric, name = results.primary, results.baseline
    facts = [f"{count}."] if (count := counted(results)) else []
    tested = [arm for arm in results.compared if arm.verdict(metric)]
    if results.compared:
        facts.append(f"Difference: {metric} minus that of {name}, paired by seed and image, mean over seeds.")
    if tested:
        facts.append(f"p: adjusted by Holm's method for {plural(len(tested), 'comparison')}.")
    if results.main_measurement:
        facts.append(f"Time: of a forward pass against {name}; {measured(results, results.main_measurement)}.")
    else:
        facts.append("Speed was not measured.")
    return " ".join(facts)


def counted(results: Results) -> str:
    """Return the number of seeds and images, as ``n = 3 seeds × 400 images``; empty without a complete run."""
    seeds = {len(arm.seeds) for arm in results.arms if arm.seeds}
    if not seeds or not results.data:
        return ""
    count = plural(max(seeds), "seed") if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)} seeds"
    return f"n = {count} × {plural(results.data.images, 'image')}"


def measured(results: Results, measurement: Measurement) -> str:
    """Return how and on what a measurement of speed was made."""
    return f"{measurement.setting}, {plural(measurement.rounds, 'round')} of each model, {measured_where(results)}"


def measured_where(results: Results) -> str:
    """Return image size, device, processor, cores and threads of the measurement of speed."""
    if results.speed is None:
        return ""
    env = results.speed.environment
    facts = [
        f"images of {results.speed.imgsz} px",
        f"device {results.speed.device}",
        env.get("gpu") if results.speed.device != "cpu" else None,
        env.get("cpu"),
        plural(env["cores"], "core") if env.get("cores") else None,
        plural(env["threads"], "thread") if env.get("threads") else None,
    ]
    return ", ".join(filter(None, facts))
