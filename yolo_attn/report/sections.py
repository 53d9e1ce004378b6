"""Sections of the report of a comparison: their content, order and wording."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.evaluate.differences import Difference
from yolo_attn.report import answer
from yolo_attn.report.formatting import (
    MISSING,
    apart,
    count,
    estimate,
    interval,
    interval_name,
    listing,
    number,
    p_value,
    plural,
    significant,
    with_interval,
)
from yolo_attn.report.parts import (
    Block,
    Bullets,
    Fold,
    Line,
    Muted,
    Paragraph,
    Part,
    Picture,
    Report,
    Section,
    Strong,
    Table,
    Verdict,
)
from yolo_attn.report.protocol import protocol_section
from yolo_attn.report.results import ArmResult, Measurement, Results, Timing


def build(results: Results) -> Report:
    """Return the whole report; sections without content are left out."""
    sections = [
        _answer(results),
        _caveats(results),
        _results(results),
        _tradeoff(results),
        _curves(results),
        _metrics(results),
        _classes(results),
        _speed(results),
        protocol_section(results),
    ]
    return Report(results.title, _subtitle(results), [s for s in sections if s.blocks])


def _subtitle(results: Results) -> str:
    facts = [
        plural(len(results.arms), "model"),
        plural(len(results.protocol.seeds), "seed") + " each" if results.protocol else None,
        f"{results.runs.complete} of {results.runs.planned} runs complete",
        f"baseline {results.baseline}",
        f"evaluated on {plural(results.data.images, 'image')}" if results.data else None,
    ]
    return " · ".join(filter(None, facts))


def _answer(results: Results) -> Section:
    blocks: list[Block] = [Paragraph([Strong(answer.headline(results))])]
    if lines := answer.answers(results):
        blocks.append(Bullets(lines))
    found = [arm.difference[results.primary] for arm in results.compared if results.primary in arm.difference]
    if found:
        blocks.append(Paragraph(_how_to_read(results, found)))
    return Section("answer", "Main result", blocks)


def _how_to_read(results: Results, found: Sequence[Difference]) -> str:
    note = f"Brackets: {interval_name(results)} of the difference to the baseline"
    if any(difference.verdict for difference in found):
        note += (
            "; p: p-value, adjusted for the number of models. Not significant does not mean equal: every value inside "
            "the brackets is compatible with these runs"
        )
    if any(_adjusted_away(difference) for difference in found):
        note += ". Where an interval excludes 0 but the verdict is not significant, that is due to the adjustment"
    return f"{note}. {results.power or ''}"


def _adjusted_away(found: Difference) -> bool:
    return found.verdict == "not significant" and (found.low > 0 or found.high < 0)


def _caveats(results: Results) -> Section:
    lines: list[Line] = list(results.caveats)
    if missing := results.runs.planned - results.runs.complete:
        planned = plural(results.runs.planned, "planned run")
        lines.append(f"Not complete: {missing} of {planned}. The results may still change.")
    for failed in results.runs.failed:
        lines.append([Strong("Failed run: "), f"{failed.arm}, seed {failed.seed}: {failed.reason}"])
    if unstable := [m.setting for m in results.measurements if m.unstable]:
        lines.append(f"Times are unreliable (they varied too much) at {listing(unstable)}.")
    return Section("caveats", "Caveats", [Bullets(lines)] if lines else [], warning=True)


def _results(results: Results) -> Section:
    metric, measurement = results.primary, results.main_measurement
    spread = Muted(f" [{interval_name(results)}]")
    head: list[Line] = ["model", "params, M", "GFLOPs", [metric, Muted(" mean ± sd")], "seeds", ["difference", spread]]
    head += [["p", Muted(" (Holm)")], "verdict"]
    if measurement:
        head += [["median latency, ms", Muted(" [p5, p95]")], ["time ratio", spread]]
    rows = [_main_row(results, arm) for arm in results.arms]
    blocks: list[Block] = [Table(f"Models, their {metric} and speed", head, rows, frozenset({0, 7}), stacked=True)]
    notes, name = [], results.baseline
    if others := results.compared:
        notes.append(f"Difference: {metric} minus that of {name}, paired by seed, mean over their common seeds.")
        notes.append(f"p: adjusted by Holm's method for {plural(len(others), 'comparison')}.")
    if measurement:
        how = f"{_measured_how(measurement)}, {_measured_where(results)}"
        notes.append(f"Latency: {how}; time ratio: to {name}.")
    else:
        notes.append("Speed was not measured.")
    caption = (
        f"Differences in {metric} with their {interval_name(results)}; small grey dots are single seeds. Filled: "
        "significant (blue better, orange worse); hollow: not significant."
    )
    picture = Picture("differences", f"Difference in {metric} to the baseline by model, as in the table.", caption)
    return Section("results", "Results", [*blocks, Paragraph([Muted(" ".join(notes))]), picture])


def _main_row(results: Results, arm: ArmResult) -> list[Line]:
    millions = arm.parameters / 1e6 if arm.parameters is not None else None
    row: list[Line] = [_name(results, arm), number(millions, 3), significant(arm.gflops)]
    if arm.is_complete:
        found = arm.difference.get(results.primary)
        row += [
            _mean_and_sd(arm, results.primary),
            str(len(arm.seeds)),
            apart(estimate(found)),
            p_value(found.p_holm if found else None),
            _verdict(results, arm),
        ]
    else:
        row += [MISSING, "0", MISSING, MISSING, "no complete run"]
    if results.main_measurement:
        timed = results.timing(arm)
        row += [_latency(timed), _ratio(timed)]
    return row


def _verdict(results: Results, arm: ArmResult) -> Line:
    if word := arm.verdict(results.primary):
        return [Verdict(word)]
    return "baseline" if arm.name == results.baseline else "not tested"


def _tradeoff(results: Results) -> Section:
    if not results.main_measurement or len(results.arms) < 2:
        return Section("tradeoff", "Accuracy against speed")
    metric, lines = results.primary, answer.tradeoff(results)
    caption = (
        f"Bars: {interval_name(results)}s of the difference in {metric} and of the time ratio to {results.baseline}. "
        "Dashed line: Pareto front of the point estimates. Models with overlapping bars are not ranked, so a place on "
        "the front alone is not a result."
    )
    picture = Picture("tradeoff", f"{metric} against latency, one point per model, with intervals.", caption)
    return Section("tradeoff", "Accuracy against speed", [*([Bullets(lines)] if lines else []), picture])


def _curves(results: Results) -> Section:
    drawn = [arm.curve for arm in results.arms if arm.curve]
    if not drawn:
        return Section("curves", "Learning curves", [Paragraph("No learning curves are stored.")])
    quantity = drawn[0].quantity
    caption = f"{quantity} by epoch: mean over seeds, and a band from the lowest to the highest seed"
    caption += f"; {results.baseline} in grey in every panel." if len(drawn) > 1 else "."
    blocks: list[Block] = [Picture("curves", f"{quantity} by epoch, one panel per model.", caption)]
    if absent := [arm.name for arm in results.arms if not arm.curve]:
        blocks.append(Paragraph(f"No curve is stored for {listing(absent)}."))
    return Section("curves", "Learning curves", blocks)


def _metrics(results: Results) -> Section:
    names, complete = results.metrics, [arm for arm in results.arms if arm.is_complete]
    if len(names) < 2 or not complete:
        return Section("metrics", "All metrics")
    values: list[list[Line]] = [[_name(results, a), *(_mean_and_sd(a, m) for m in names)] for a in complete]
    blocks: list[Block] = [Table("Mean ± standard deviation over seeds", ["model", *names], values, headed=True)]
    tested = [arm for arm in results.compared if arm.difference]
    if tested:
        rows: list[list[Line]] = [
            [_name(results, a), *(_verdict_cells(a.difference.get(m)) for m in names)] for a in tested
        ]
        title = f"Difference to {results.baseline}, with {interval_name(results)}"
        blocks.append(Table(title, ["model", *names], rows, headed=True, stacked=True))
        warning = (
            f"p-values are adjusted for the number of models, not of metrics: {results.primary} decides, the others "
            "show where a difference comes from."
        )
        caption = f"Differences with their {interval_name(results)}. {warning} All panels have the same scale."
        blocks.append(Picture("metrics", "Differences in every metric, one panel per metric.", caption))
        blocks.append(
            Fold("All test statistics, and the values of every seed", [_statistics(results, tested), _seeds(results)])
        )
    return Section("metrics", "All metrics", blocks)


def _verdict_cells(difference: Difference | None) -> Line:
    line = estimate(difference)
    if difference is None or difference.verdict not in ("better", "worse"):
        return apart(line)
    value, space, rest = line.partition(" ")
    return ["▲ " if difference.verdict == "better" else "▼ ", Strong(value), Muted(space + rest)]


def _statistics(results: Results, tested: Sequence[ArmResult]) -> Table:
    head = ["model", "metric", "difference", "se", "df", interval_name(results), "p", "p, Holm", "p, permutation"]
    head += ["permutation, Holm", "permutation floor", "detectable", "verdict"]
    rows: list[list[Line]] = [
        [arm.name, metric, *_statistics_cells(arm.difference[metric])]
        for metric in results.metrics
        for arm in tested
        if metric in arm.difference
    ]
    return Table("Tests by model and metric", head, rows, words=frozenset({0, 1, 12}), headed=True)


def _statistics_cells(difference: Difference) -> list[Line]:
    p_values = (
        difference.p,
        difference.p_holm,
        difference.p_permutation,
        difference.p_permutation_holm,
        difference.permutation_floor,
    )
    return [
        number(difference.estimate, 5, sign=True),
        number(difference.se, 5),
        significant(difference.df),
        interval(difference.low, difference.high, 5, sign=True),
        *map(p_value, p_values),
        number(difference.detectable, 5),
        difference.verdict or "not tested",
    ]


def _seeds(results: Results) -> Table:
    rows: list[list[Line]] = []
    for metric in results.metrics:
        for arm in results.arms:
            if values := arm.metrics.get(metric):
                seeds = ", ".join(f"{s}: {number(v, 5)}" for s, v in zip(arm.seeds, values.by_seed, strict=True))
                rows.append([arm.name, metric, seeds])
    return Table("Every seed", ["model", "metric", "seed: value"], rows, words=frozenset({0, 1, 2}), headed=True)


def _classes(results: Results) -> Section:
    tested = [arm for arm in results.compared if arm.per_class]
    if not tested:
        return Section("classes", "Classes", [Paragraph("No results by class are stored.")])
    blocks: list[Block] = [Paragraph([Strong("Read with care. "), _class_warning(results, tested)])]
    caption = f"The largest gains and losses in {results.primary}, with unadjusted intervals; not a list of findings."
    blocks.append(Picture("classes", "Largest gains and losses by class, one panel per model.", caption))
    known = {row.name: row for arm in tested for row in arm.per_class}
    by_arm = [{row.name: row for row in arm.per_class} for arm in tested]
    rows: list[list[Line]] = [
        [name, count(row.targets), number(row.baseline, 3)]
        + [apart(estimate(of_arm.get(name), digits=3)) for of_arm in by_arm]
        for name, row in known.items()
    ]
    head = ["class", "targets", results.baseline, *(arm.name for arm in tested)]
    table = Table(f"Difference in {results.primary} by class", head, rows, stacked=True)
    blocks.append(Fold(f"All {len(known)} classes", [table]))
    if results.data and (without := results.data.classes_without_targets):
        blocks.append(Paragraph([Muted(f"Not evaluated, without a target in the data: {listing(without, most=20)}.")]))
    return Section("classes", "Classes", blocks)


def _class_warning(results: Results, tested: Sequence[ArmResult]) -> str:
    bounded = [
        (row.low, row.high)
        for arm in tested
        for row in arm.per_class
        if row.low is not None and row.high is not None and row.low < row.high
    ]
    text = "Intervals by class are not adjusted for the number of classes and models."
    if bounded and results.bootstrap:
        beyond = sum(low > 0 or high < 0 for low, high in bounded)
        text += (
            f" {beyond:,} of {len(bounded):,} exclude 0; if no class differed, about "
            f"{len(bounded) * (1 - results.bootstrap.level):,.0f} would do so by chance."
        )
    return text + " Results of classes with few targets vary most."


def _speed(results: Results) -> Section:
    if not results.measurements:
        return Section("speed", "Speed and cost", [Paragraph("Speed was not measured."), *_training_cost(results)])
    caption = (
        f"Time of one batch divided by that of {results.baseline}, with its {interval_name(results)}: above 1 "
        "is slower. Filled: the interval excludes 1."
    )
    blocks: list[Block] = [
        Paragraph([Muted(f"Measured {_measured_where(results)}.")]),
        Picture("speed", "Ratios of times to the baseline, as in the tables.", caption),
        *(_speed_table(results, measurement) for measurement in results.measurements),
    ]
    return Section("speed", "Speed and cost", [*blocks, *_training_cost(results)])


def _speed_table(results: Results, measurement: Measurement) -> Table:
    spread = Muted(f" [{interval_name(results)}]")
    head: list[Line] = ["model", ["median latency, ms", Muted(" [p5, p95]")], ["time ratio", spread]]
    timed = [(arm, measurement.arms[arm.name]) for arm in results.arms if arm.name in measurement.arms]
    rows = [[_name(results, arm), *_speed_cells(timing)] for arm, timing in timed]
    title = _measured_how(measurement).capitalize() + (" (unstable)" if measurement.unstable else "")
    return Table(title, [*head, "images/s", "peak memory, MB"], rows, headed=True)


def _speed_cells(timed: Timing) -> list[Line]:
    return [_latency(timed), _ratio(timed), significant(timed.images_per_second), count(timed.peak_memory_mb)]


def _training_cost(results: Results) -> list[Block]:
    rows = [[_name(results, arm), *_training_cells(results, arm)] for arm in results.arms if arm.epoch_seconds]
    if not rows:
        return [Paragraph("Training time was not stored.")]
    return [Table("Training", ["model", "seconds per epoch, fastest", "ratio", "peak memory, MB"], rows, headed=True)]


def _training_cells(results: Results, arm: ArmResult) -> list[Line]:
    seconds, reference = arm.epoch_seconds, results.baseline_arm.epoch_seconds
    ratio = seconds / reference if seconds and reference else None
    return [significant(seconds), number(ratio, 2), count(arm.peak_memory_mb)]


def _name(results: Results, arm: ArmResult) -> list[Part]:
    is_marked = arm.name == results.baseline or "control" in arm.kind
    return [Strong(arm.name), Muted(f" {arm.kind}")] if is_marked else [Strong(arm.name)]


def _mean_and_sd(arm: ArmResult, metric: str) -> Line:
    if metric not in arm.metrics:
        return MISSING
    values = arm.metrics[metric]
    return apart(number(values.mean) + (f" ± {number(values.sd)}" if values.sd is not None else ""))


def _latency(timed: Timing | None) -> Line:
    if timed is None:
        return MISSING
    return apart(with_interval(timed.median_ms, timed.p5_ms, timed.p95_ms, digits=2 if timed.median_ms < 10 else 1))


def _ratio(timed: Timing | None) -> Line:
    return apart(with_interval(timed.ratio, timed.ratio_low, timed.ratio_high, 3)) if timed else MISSING


def _measured_how(measurement: Measurement) -> str:
    return f"{measurement.setting}, {plural(measurement.rounds, 'round')} of each model"


def _measured_where(results: Results) -> str:
    return f"on images of {results.speed.imgsz} px on {results.speed.device}" if results.speed else ""
