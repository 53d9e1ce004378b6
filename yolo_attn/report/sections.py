"""The report of a comparison, made from its summary: what stands in it, in which order and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from yolo_attn.report.read import (
    Arm,
    Summary,
    arms,
    baseline,
    baseline_name,
    compared,
    difference,
    is_complete,
    look,
    main_measurement,
    mean,
    measurements,
    metrics,
    primary,
    setting,
)


def build(summary: Summary) -> Report:
    """Return the whole report.

    Args:
        summary: What ``results.json`` holds; any part may be missing, and the report then says so.
    """
    sections = [
        _answer(summary),
        _caveats(summary),
        _results(summary),
        _tradeoff(summary),
        _curves(summary),
        _metrics(summary),
        _classes(summary),
        _speed(summary),
        protocol_section(summary),
    ]
    return Report(look(summary, "title") or "Comparison", _subtitle(summary), [s for s in sections if s.blocks])


def _subtitle(summary: Summary) -> str:
    seeds, data = look(summary, "protocol", "seeds"), look(summary, "data") or {}
    planned, complete = look(summary, "runs", "planned"), look(summary, "runs", "complete")
    said = [
        plural(len(arms(summary)), "model"),
        plural(len(seeds), "seed") + " each" if seeds else None,
        f"{complete} of {planned} runs complete" if planned is not None else None,
        f"baseline {summary['baseline']}" if look(summary, "baseline") else None,
        f"judged on {plural(data['images'], 'image')}" if data.get("images") else None,
    ]
    return " · ".join(filter(None, said))


def _answer(summary: Summary) -> Section:
    blocks: list[Block] = [Paragraph([Strong(answer.headline(summary))])]
    if lines := answer.answers(summary):
        blocks.append(Bullets(lines))
    if any(look(difference(a, primary(summary)), "low") is not None for a in compared(summary)):
        note = (
            f"Brackets hold the {interval_name(summary)} of a difference; p is adjusted for the number of models. Not "
            "significant does not mean equal: every value inside the brackets is compatible with these runs. "
        )
        if any(_adjusted_away(difference(a, primary(summary))) for a in compared(summary)):
            note += (
                "Where an interval excludes 0 and the verdict is not significant, the adjustment made the difference. "
            )
        blocks.append(Paragraph(note + (look(summary, "power") or "")))
    return Section("answer", "What is known, and what is not", blocks)


def _adjusted_away(found: Mapping[str, Any] | None) -> bool:
    low, high = look(found, "low"), look(found, "high")
    excludes_zero = low is not None and high is not None and (low > 0 or high < 0)
    return excludes_zero and look(found, "verdict") == "not significant"


def _caveats(summary: Summary) -> Section:
    lines: list[Line] = list(look(summary, "caveats") or [])
    if missing := (look(summary, "runs", "planned") or 0) - (look(summary, "runs", "complete") or 0):
        planned = plural(summary["runs"]["planned"], "planned run")
        lines.append(f"Not complete: {missing} of {planned}. The results may still change.")
    for failed in look(summary, "runs", "failed") or []:
        lines.append([Strong("Failed run: "), f"{failed['arm']}, seed {failed['seed']}: {failed['reason']}"])
    if unstable := [setting(m) for m in measurements(summary) if m.get("unstable")]:
        lines.append(f"The times varied too much to be relied on at {listing(unstable)}.")
    return Section("caveats", "Before you quote a number", [Bullets(lines)] if lines else [], warning=True)


def _results(summary: Summary) -> Section:
    metric, measurement = primary(summary), main_measurement(summary)
    spread = Muted(f" [{interval_name(summary)}]")
    head: list[Line] = ["model", "params, M", "GFLOPs", [metric, Muted(" mean ± sd")], "seeds", ["difference", spread]]
    head += [["p", Muted(" (Holm)")], "verdict"]
    if measurement:
        head += [["median latency, ms", Muted(" [p5, p95]")], ["time ratio", spread]]
    rows = [_main_row(summary, arm, metric, measurement) for arm in arms(summary)]
    blocks: list[Block] = [Table(f"Models, their {metric} and speed", head, rows, frozenset({0, 7}), stacked=True)]
    notes, name = [], baseline_name(summary)
    if others := compared(summary):
        notes.append(f"Difference: {metric} minus that of {name}, paired by seed, mean of the seeds both have.")
        notes.append(f"p: adjusted by Holm for {plural(len(others), 'comparison')}.")
    if measurement:
        how = f"{_measured_how(measurement)}, {_measured_where(summary)}"
        notes.append(f"Time: {how}; the ratio is to {name}.")
    else:
        notes.append("Speed was not measured.")
    caption = (
        f"Differences in {metric} with their {interval_name(summary)}; small grey dots are single seeds. Filled: "
        "significant (blue better, orange worse); hollow: not significant."
    )
    picture = Picture(
        "differences", f"Difference in {metric} to the baseline, model by model, as in the table.", caption
    )
    return Section("results", "Results", [*blocks, Paragraph([Muted(" ".join(notes))]), picture])


def _main_row(summary: Summary, arm: Arm, metric: str, measurement: Mapping[str, Any] | None) -> list[Line]:
    millions = arm["parameters"] / 1e6 if arm.get("parameters") is not None else None
    row: list[Line] = [_name(summary, arm), number(millions, 3), significant(arm.get("gflops"))]
    if is_complete(arm):
        found, is_baseline = difference(arm, metric), arm["name"] == look(summary, "baseline")
        word = look(found, "verdict")
        missing = "baseline" if is_baseline else "not tested"
        row += [
            _mean_and_sd(arm, metric),
            str(len(arm["seeds"])),
            apart(estimate(found)),
            p_value(look(found, "p_holm")),
        ]
        row.append([Verdict(word)] if word else missing)
    else:
        row += [MISSING, "0", MISSING, MISSING, "no complete run"]
    if measurement:
        timed = look(measurement, "arms", arm["name"])
        row += [_latency(timed), _ratio(timed)]
    return row


def _tradeoff(summary: Summary) -> Section:
    if not main_measurement(summary) or len(arms(summary)) < 2:
        return Section("tradeoff", "Accuracy against speed")
    metric, lines = primary(summary), answer.tradeoff(summary)
    caption = (
        f"Bars are the {interval_name(summary)}s of the difference to {baseline_name(summary)} in {metric} and of "
        "the ratio of times. The dashed line joins the models that no other beats in both by its point estimate. "
        "Models whose bars overlap are not ordered: being on the line is no result in itself."
    )
    picture = Picture("tradeoff", f"{metric} against latency, one point per model, with intervals.", caption)
    return Section("tradeoff", "Accuracy against speed", [*([Bullets(lines)] if lines else []), picture])


def _curves(summary: Summary) -> Section:
    drawn = [a for a in arms(summary) if look(a, "curve", "epochs")]
    if not drawn:
        return Section("curves", "Learning curves", [Paragraph("No learning curves are stored.")])
    quantity = drawn[0]["curve"]["quantity"]
    caption = f"{quantity} by epoch: the mean over seeds, and a band from the lowest seed to the highest"
    caption += f"; {baseline_name(summary)} in grey in every panel." if len(drawn) > 1 else "."
    blocks: list[Block] = [Picture("curves", f"{quantity} by epoch, one panel per model.", caption)]
    if absent := [a["name"] for a in arms(summary) if not look(a, "curve", "epochs")]:
        blocks.append(Paragraph(f"No curve is stored for {listing(absent)}."))
    return Section("curves", "Learning curves", blocks)


def _metrics(summary: Summary) -> Section:
    names, complete = metrics(summary), [a for a in arms(summary) if is_complete(a)]
    if len(names) < 2 or not complete:
        return Section("metrics", "All metrics")
    values = [[_name(summary, a), *(_mean_and_sd(a, m) for m in names)] for a in complete]
    blocks: list[Block] = [Table("Mean ± standard deviation over seeds", ["model", *names], values, headed=True)]
    tested = [a for a in compared(summary) if any(difference(a, m) for m in names)]
    if tested:
        rows = [[_name(summary, a), *(_judged(difference(a, m)) for m in names)] for a in tested]
        title = f"Difference to {baseline_name(summary)}, with {interval_name(summary)}"
        blocks.append(Table(title, ["model", *names], rows, headed=True, stacked=True))
        warning = (
            f"p-values are adjusted over models, not over metrics: {primary(summary)} decides, the others show where a "
            "difference comes from."
        )
        caption = f"Differences with their {interval_name(summary)}. {warning} All panels have the same scale."
        blocks.append(Picture("metrics", "Differences in every metric, one panel per metric.", caption))
        blocks.append(Fold("All numbers of the tests, and every seed", [_statistics(summary, tested), _seeds(summary)]))
    return Section("metrics", "All metrics", blocks)


def _judged(found: Mapping[str, Any] | None) -> Line:
    marked = {"better": "▲ ", "worse": "▼ "}.get(look(found, "verdict"))
    value, *rest = apart(estimate(found))
    return [marked, Strong(value), *rest] if marked else [value, *rest]


def _statistics(summary: Summary, tested: list[Arm]) -> Table:
    head = ["model", "metric", "difference", "se", "df", interval_name(summary), "p", "p, Holm", "p, permutation"]
    head += ["permutation, Holm", "permutation floor", "detectable", "verdict"]
    rows = []
    for metric in metrics(summary):
        for arm in tested:
            if found := difference(arm, metric):
                rows.append([arm["name"], metric, *_statistics_cells(found)])
    return Table("Tests, model by metric", head, rows, words=frozenset({0, 1, 12}), headed=True)


def _statistics_cells(found: Mapping[str, Any]) -> list[Line]:
    p_values = ("p", "p_holm", "p_permutation", "p_permutation_holm", "permutation_floor")
    return [
        number(found["estimate"], 5, sign=True),
        number(found.get("se"), 5),
        significant(found.get("df")),
        interval(found.get("low"), found.get("high"), 5, sign=True) or MISSING,
        *(p_value(found.get(p)) for p in p_values),
        number(found.get("detectable"), 5),
        found.get("verdict") or "not tested",
    ]


def _seeds(summary: Summary) -> Table:
    rows = []
    for metric in metrics(summary):
        for arm in filter(is_complete, arms(summary)):
            values = look(arm, "metrics", metric, "by_seed") or []
            seeds = ", ".join(f"{s}: {number(v, 5)}" for s, v in zip(arm["seeds"], values, strict=True))
            rows.append([arm["name"], metric, seeds])
    return Table("Every seed", ["model", "metric", "seed: value"], rows, words=frozenset({0, 1, 2}), headed=True)


def _classes(summary: Summary) -> Section:
    tested = [a for a in compared(summary) if a.get("per_class")]
    if not tested:
        return Section("classes", "Classes", [Paragraph("No results by class are stored.")])
    blocks: list[Block] = [Paragraph([Strong("Read with care. "), _class_warning(summary, tested)])]
    caption = f"The largest gains and losses in {primary(summary)}, with unadjusted intervals; not a list of findings."
    blocks.append(Picture("classes", "Largest gains and losses by class, one panel per model.", caption))
    known = {row["class"]: row for arm in tested for row in arm["per_class"]}
    by_arm = [{row["class"]: row for row in arm["per_class"]} for arm in tested]
    base = baseline_name(summary)
    rows = [
        [name, count(row.get("targets")), number(row.get("baseline"), 3)]
        + [apart(estimate(of_arm.get(name), digits=3)) for of_arm in by_arm]
        for name, row in known.items()
    ]
    head = ["class", "targets", base, *(a["name"] for a in tested)]
    table = Table(f"Difference in {primary(summary)} by class", head, rows, stacked=True)
    blocks.append(Fold(f"All {len(known)} classes", [table]))
    if without := look(summary, "data", "classes_without_targets"):
        blocks.append(
            Paragraph([Muted(f"Without a target in the data, hence not judged: {listing(without, most=20)}.")])
        )
    return Section("classes", "Classes", blocks)


def _class_warning(summary: Summary, tested: list[Arm]) -> str:
    bounded = [
        row for a in tested for row in a["per_class"] if row.get("low") is not None and row.get("high") is not None
    ]
    text = "The intervals of single classes are not adjusted for the many classes and models looked at."
    level = look(summary, "bootstrap", "level")
    if bounded and level:
        beyond = sum(row["low"] > 0 or row["high"] < 0 for row in bounded)
        text += (
            f" {beyond:,} of {len(bounded):,} do not contain 0; if no class differed at all, about "
            f"{len(bounded) * (1 - level):,.0f} would be expected not to."
        )
    return text + " Classes with few targets swing most."


def _speed(summary: Summary) -> Section:
    if not measurements(summary):
        return Section("speed", "Speed and cost", [Paragraph("Speed was not measured."), *_training_cost(summary)])
    caption = (
        f"Time of one batch divided by that of {baseline_name(summary)}, with its {interval_name(summary)}: above 1 "
        "is slower. Filled: the interval does not contain 1."
    )
    blocks: list[Block] = [
        Paragraph([Muted(f"Measured {_measured_where(summary) or 'where is not stored'}.")]),
        Picture("speed", "Ratios of times to the baseline, as in the tables.", caption),
        *(_speed_table(summary, measurement) for measurement in measurements(summary)),
    ]
    return Section("speed", "Speed and cost", [*blocks, *_training_cost(summary)])


def _speed_table(summary: Summary, measurement: Mapping[str, Any]) -> Table:
    spread = Muted(f" [{interval_name(summary)}]")
    head: list[Line] = ["model", ["median latency, ms", Muted(" [p5, p95]")], ["time ratio", spread]]
    timed = [(arm, found) for arm in arms(summary) if (found := look(measurement, "arms", arm["name"]))]
    rows = [[_name(summary, arm), *_speed_cells(found)] for arm, found in timed]
    title = _measured_how(measurement).capitalize() + (" (unstable)" if measurement.get("unstable") else "")
    return Table(title, [*head, "images/s", "peak memory, MB"], rows, headed=True)


def _speed_cells(timed: Mapping[str, Any]) -> list[Line]:
    return [
        _latency(timed),
        _ratio(timed),
        significant(timed.get("images_per_second")),
        count(timed.get("peak_memory_mb")),
    ]


def _training_cost(summary: Summary) -> list[Block]:
    timed = [a for a in arms(summary) if a.get("epoch_seconds") is not None]
    if not timed:
        return [Paragraph("Training time was not stored.")]
    reference = look(baseline(summary), "epoch_seconds")
    rows = [
        [
            _name(summary, a),
            significant(a["epoch_seconds"]),
            number(a["epoch_seconds"] / reference if reference else None, 2),
            count(a.get("peak_memory_mb")),
        ]
        for a in timed
    ]
    return [Table("Training", ["model", "seconds per epoch, fastest", "ratio", "peak memory, MB"], rows, headed=True)]


def _name(summary: Summary, arm: Arm) -> list[Part]:
    is_baseline = arm["name"] == look(summary, "baseline")
    kind = "baseline" if is_baseline else arm.get("kind")
    mark = f" {kind}" if kind and (is_baseline or "control" in kind) else ""
    return [Strong(arm["name"]), Muted(mark)] if mark else [Strong(arm["name"])]


def _mean_and_sd(arm: Arm, metric: str) -> Line:
    sd = look(arm, "metrics", metric, "sd")
    return apart(number(mean(arm, metric)) + (f" ± {number(sd)}" if sd is not None else ""))


def _latency(timed: Mapping[str, Any] | None) -> Line:
    median = look(timed, "median_ms")
    digits = 2 if median is not None and median < 10 else 1
    return apart(with_interval(median, look(timed, "p5_ms"), look(timed, "p95_ms"), digits))


def _ratio(timed: Mapping[str, Any] | None) -> Line:
    return apart(with_interval(look(timed, "ratio"), look(timed, "ratio_low"), look(timed, "ratio_high"), 3))


def _measured_how(measurement: Mapping[str, Any]) -> str:
    rounds = measurement.get("rounds")
    return setting(measurement) + (f", {plural(rounds, 'round')} of each model" if rounds else "")


def _measured_where(summary: Summary) -> str:
    device, imgsz = look(summary, "speed", "device"), look(summary, "speed", "imgsz")
    return " ".join(filter(None, [f"on images of {imgsz} px" if imgsz else None, f"on {device}" if device else None]))
