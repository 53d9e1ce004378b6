"""The sections on all metrics, and on the tests with the values of every seed."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.evaluate.differences import Difference
from yolo_attn.report import forest
from yolo_attn.report.cells import mean_and_sd, named
from yolo_attn.report.formatting import (
    apart,
    bounds,
    decimals,
    estimate,
    interval,
    interval_name,
    number,
    p_value,
    significant,
)
from yolo_attn.report.main_table import CONTROLS
from yolo_attn.report.names import is_control, ordered
from yolo_attn.report.parts import Axis, Block, Cell, Line, Part, Picture, Row, Section, Strong, Table
from yolo_attn.report.results import ArmResult, Results
from yolo_attn.report.scale import Scale


def metrics_section(results: Results) -> Section:
    """Return values and differences in every metric."""
    complete = [arm for arm in ordered(results) if arm.is_complete]
    if len(results.metrics) < 2 or not complete:
        return Section("metrics", "All metrics")
    blocks: list[Block] = []
    if tested := [arm for arm in complete if arm.difference]:
        picture = Picture("metrics", "Differences in every metric.", "As in the table.")
        blocks += [_differences(results, tested), picture]
    return Section("metrics", "All metrics", [*blocks, _values(results, complete)], folded=True)


def _values(results: Results, arms: Sequence[ArmResult]) -> Table:
    digits = {m: _sd_decimals(arms, m) for m in results.metrics}
    rows = [
        _row(results, arm, [Cell(mean_and_sd(arm, m, digits[m]), arm.mean(m)) for m in results.metrics]) for arm in arms
    ]
    head = ["model", *results.metrics]
    return Table("Mean ± standard deviation over seeds", head, rows, headed=True, sortable=True)


def _sd_decimals(arms: Sequence[ArmResult], metric: str) -> int:
    """Return decimals by the smallest spread, but 4 at most, as seeds can lie close by chance."""
    values = [arm.metrics[metric] for arm in arms if metric in arm.metrics]
    return min(4, decimals((v.mean, v.mean - v.sd, v.mean + v.sd) for v in values if v.sd is not None))


def _differences(results: Results, tested: Sequence[ArmResult]) -> Table:
    found = {m: [arm.difference[m] for arm in tested if m in arm.difference] for m in results.metrics}
    scales = {m: forest.differences_scale(ds, ticks=2) for m, ds in found.items() if ds}
    digits = {m: decimals(bounds(ds)) for m, ds in found.items()}
    head: list[Line] = ["model"]
    head += [[m, Axis(scales[m])] if m in scales else m for m in results.metrics]
    rows = [
        _row(results, arm, [_difference(arm.difference.get(m), scales.get(m), digits[m]) for m in results.metrics])
        for arm in tested
    ]
    title = f"Difference to {results.baseline}, with {interval_name(results)}"
    note = (
        f"p-values are adjusted for the number of models, not of metrics: {results.primary} decides, the others show "
        "where a difference comes from. Each metric has a scale of its own; small dots are single seeds."
    )
    return Table(title, head, rows, headed=True, stacked=True, dense=True, sortable=True, caption=note)


def _row(results: Results, arm: ArmResult, cells: Sequence[Line | Cell]) -> Row:
    group = CONTROLS if is_control(arm) else ""
    return Row([named(results, arm), *cells], arm.name, group, fixed=arm.name == results.baseline)


def _difference(found: Difference | None, on: Scale | None, digits: int) -> Cell:
    line: list[Part] = apart(estimate(found, digits))
    if found is None or on is None:
        return Cell(line)
    if found.verdict in ("better", "worse"):
        line = ["▲ " if found.verdict == "better" else "▼ ", Strong(str(line[0])), *line[1:]]
    return Cell([*line, forest.of_difference(found, on)], found.estimate)


# --- tests and seeds --------------------------------------------------------------------------------------------------
def statistics_section(results: Results) -> Section:
    """Return all test statistics, and the values of every seed."""
    blocks = [_tests(results), _seeds(results)]
    title = "Tests, and every seed"
    return Section("statistics", title, [table for table in blocks if table.rows], folded=True)


def _tests(results: Results) -> Table:
    head = ["model", "metric", "difference", "se", "df", interval_name(results), "p", "p, Holm", "p, permutation"]
    head += ["permutation, Holm", "permutation floor", "detectable", "seeds for 0.005", "verdict"]
    rows = [
        Row([arm.name, metric, *_tests_cells(arm.difference[metric])], arm.name)
        for metric in results.metrics
        for arm in ordered(results)
        if metric in arm.difference
    ]
    return Table("Tests by model and metric", head, rows, frozenset({0, 1, 13}), headed=True, sortable=True)


def _tests_cells(found: Difference) -> list[Line | Cell]:
    p_values = (found.p, found.p_holm, found.p_permutation, found.p_permutation_holm, found.permutation_floor)
    return [
        Cell(number(found.estimate, 5, sign=True), found.estimate),
        Cell(number(found.se, 5), found.se),
        Cell(significant(found.df), found.df),
        Cell(interval(found.low, found.high, 5, sign=True), found.low),
        *(Cell(p_value(p), p) for p in p_values),
        Cell(number(found.detectable, 5), found.detectable),
        Cell(number(found.seeds_needed, 0), found.seeds_needed),
        found.verdict or "not tested",
    ]


def _seeds(results: Results) -> Table:
    rows = []
    for metric in results.metrics:
        for arm in ordered(results):
            if values := arm.metrics.get(metric):
                seeds = ", ".join(f"{s}: {number(v, 5)}" for s, v in zip(arm.seeds, values.by_seed, strict=True))
                rows.append(Row([arm.name, metric, seeds], arm.name))
    return Table("Every seed", ["model", "metric", "seed: value"], rows, frozenset({0, 1, 2}), headed=True)
