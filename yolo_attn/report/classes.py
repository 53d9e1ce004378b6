"""The section on classes: gains and losses where there are enough targets, and all classes in a table."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.evaluate.differences import ClassDifference
from yolo_attn.report import forest
from yolo_attn.report.drawing import Drawing
from yolo_attn.report.forest import Column, forest_plot
from yolo_attn.report.formatting import apart, bounds, count, decimals, estimate, interval_name, listing, number
from yolo_attn.report.names import is_control, ordered, shorten
from yolo_attn.report.parts import (
    Block,
    Cell,
    Heading,
    Line,
    Muted,
    Panel,
    Paragraph,
    Picture,
    Row,
    Section,
    Strong,
    Table,
)
from yolo_attn.report.results import ArmResult, Results
from yolo_attn.report.scale import scale

ENOUGH_TARGETS = 10
_MOST = 5  # classes at either end
_FEW = f"Fewer than {ENOUGH_TARGETS} targets"


def draw_classes(results: Results) -> dict[str, Drawing]:
    """Draw the largest gains and losses by model, of classes with enough targets and an interval, without controls."""
    shown = {arm.name: rows for arm in _tested(results) if not is_control(arm) and (rows := _ends(arm))}
    on = scale([v for rows in shown.values() for r in rows for v in (r.estimate, r.low, r.high)], zero=0.0, ticks=4)
    return {
        arm: forest_plot(
            [f"{shorten(row.name, 18)} ({row.targets:,})" for row in rows],
            [Column("", [forest.of_class(row, on) for row in rows])],
            width=150,
            title=False,
        )
        for arm, rows in shown.items()
    }


def classes_section(results: Results) -> Section:
    """Return gains and losses by class."""
    tested = _tested(results)
    if not tested:
        return Section("classes", "Classes", [Paragraph("No results by class are stored.")], folded=True)
    blocks: list[Block] = [Paragraph([Strong("Read with care. "), _warning(results, tested)])]
    caption = (
        f"The largest gains and losses in {results.primary} among classes with at least {ENOUGH_TARGETS} targets "
        f"(their number in parentheses), with {interval_name(results)}; coloured where it does not hold 0."
    )
    panels = [Panel(drawing, arm) for arm, drawing in draw_classes(results).items()]
    blocks.append(Picture("classes", "Largest gains and losses by class, one panel per model.", caption, panels))
    blocks += [Heading("All classes"), _table(results, tested)]
    if results.data and (without := results.data.classes_without_targets):
        blocks.append(Paragraph([Muted(f"Not evaluated, without a target in the data: {listing(without, most=20)}.")]))
    return Section("classes", "Classes", blocks, folded=True)


def _tested(results: Results) -> list[ArmResult]:
    return [arm for arm in ordered(results) if arm.per_class]


def _ends(arm: ArmResult) -> list[ClassDifference]:
    """Return the classes with the largest gains and losses, the largest gain first."""
    rows = [row for row in arm.per_class if row.targets >= ENOUGH_TARGETS and row.low is not None]
    rows.sort(key=lambda row: -row.estimate)
    return rows if len(rows) <= 2 * _MOST else rows[:_MOST] + rows[-_MOST:]


def _table(results: Results, tested: Sequence[ArmResult]) -> Table:
    known = {row.name: row for arm in tested for row in arm.per_class}
    by_arm = [{row.name: row for row in arm.per_class} for arm in tested]
    rows = []
    for name, row in sorted(known.items(), key=lambda item: -item[1].targets):
        found = [of_arm.get(name) for of_arm in by_arm]
        digits = decimals(bounds(filter(None, found)), otherwise=3)
        line: list[Line | Cell] = [name, Cell(count(row.targets), row.targets)]
        line.append(Cell(number(row.baseline, digits), row.baseline))
        line += [_cell(one, digits) for one in found]
        rows.append(Row(line, group=_FEW if row.targets < ENOUGH_TARGETS else ""))
    head = ["class", "targets", results.baseline, *(arm.name for arm in tested)]
    title = f"Difference in {results.primary} by class"
    note = "Bold: the interval does not hold 0. Without an interval: all targets are in one image."
    arms = ["", "", results.baseline, *(arm.name for arm in tested)]
    return Table(title, head, rows, stacked=True, sortable=True, sorted_by=1, caption=note, arms=arms)


def _cell(found: ClassDifference | None, digits: int) -> Cell:
    line = apart(estimate(found, digits))
    if found and found.low is not None and found.high is not None and (found.low > 0 or found.high < 0):
        line[0] = Strong(str(line[0]))
    return Cell(line, found.estimate if found else None)


def _warning(results: Results, tested: Sequence[ArmResult]) -> str:
    bounded = [
        (row.low, row.high)
        for arm in tested
        if not is_control(arm)
        for row in arm.per_class
        if row.low is not None and row.high is not None and row.low < row.high
    ]
    text = "Intervals by class are not adjusted for the number of classes and models."
    if bounded and results.bootstrap:
        beyond = sum(low > 0 or high < 0 for low, high in bounded)
        text += (
            f" {beyond:,} of {len(bounded):,} exclude 0 (controls not counted); if no class differed, about "
            f"{len(bounded) * (1 - results.bootstrap.level):,.0f} would do so by chance."
        )
    return text + " Results of classes with few targets vary most."
