"""Sentences on what a comparison shows: the head of the report."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.report.formatting import bounds, decimals, estimate, listing, p_value, plural, time_change
from yolo_attn.report.names import is_control, ordered
from yolo_attn.report.parts import Line, Part, Strong, Verdict
from yolo_attn.report.results import ArmResult, Results

COSTLY = 1.1
"""Time or number of parameters, relative to the baseline, from which a model is said to cost much."""

_MOST, _NAMED = 3, 3
_NO_DIFFERENCE = "not significant"


def headline(results: Results) -> str:
    """Return one or two sentences that name the models which differ from the baseline; controls are left out."""
    metric, name = results.primary, results.baseline
    if not any(arm.is_complete for arm in results.arms):
        return f"No results yet: no run {f'of {name} ' if results.runs.complete else ''}is complete."
    if not results.compared:
        return f"Nothing to compare: {name} is the only model."
    judged = [arm for arm in ordered(results) if arm.verdict(metric)]
    judged = [arm for arm in judged if not is_control(arm)] or judged
    if not judged:
        return f"No difference in {metric} to {name} could be tested."
    named = {
        word: [arm.name for arm in judged if arm.verdict(metric) == word]
        for word in ("better", "worse", _NO_DIFFERENCE)
    }
    if len(named[_NO_DIFFERENCE]) == len(judged):
        who = f"None of the {len(judged)} models is" if len(judged) > 1 else f"{judged[0].name} is not"
        return f"{who} significantly better or worse than {name} in {metric}."
    clauses = [f"{_named(named[w])} significantly {w}" for w in ("better", "worse") if named[w]]
    rest = named[_NO_DIFFERENCE]
    unknown = f" No significant difference was found for {_other_models(rest)}." if rest else ""
    return f"{' and '.join(clauses)} than {name} in {metric}.{unknown}"


def findings(results: Results) -> list[Line]:
    """Return a line for each significant difference, the best first, and one on models that cost much without it."""
    metric = results.primary
    clear = [arm for arm in ordered(results) if arm.verdict(metric) in ("better", "worse")]
    digits = decimals(bounds(arm.difference[metric] for arm in clear))
    lines: list[Line] = [_finding(results, arm, digits) for arm in clear[:_MOST]]
    if more := clear[_MOST:]:
        lines.append(f"{plural(len(more), 'further significant difference')} in the table.")
    costly = [f"{arm.name} ({cost})" for arm in ordered(results) if arm not in clear and (cost := _cost(results, arm))]
    if costly:
        lines.append([Strong("Costly without a significant gain: "), listing(costly), "."])
    return lines


def _finding(results: Results, arm: ArmResult, digits: int) -> Line:
    found = arm.difference[results.primary]
    control = f" ({arm.kind})" if is_control(arm) else ""
    p = f" (p = {p_value(found.p_holm)})".replace("= <", "<")
    line: list[Part] = [Strong(arm.name), f"{control}: ", Verdict(str(found.verdict))]
    return [*line, f" by {estimate(found, digits)}{p}, {_speed(results, arm)}."]


def _speed(results: Results, arm: ArmResult) -> str:
    measurement, timed = results.main_measurement, results.timing(arm)
    if measurement is None or timed is None:
        return "speed not measured"
    change = time_change(timed.ratio, timed.ratio_low, timed.ratio_high)
    doubt = " (unstable measurement)" if measurement.unstable else ""
    same = "" if timed.verdict else "no significant difference in time: "
    return f"{same}{change}, batch {measurement.batch}{doubt}"


def _cost(results: Results, arm: ArmResult) -> str | None:
    """Return what a model costs in time, or in parameters; ``None`` where neither is much."""
    timed, base = results.timing(arm), results.baseline_arm.parameters
    if is_control(arm) or arm.name == results.baseline or not arm.verdict(results.primary):
        return None
    if timed and timed.verdict == "slower" and timed.ratio >= COSTLY:
        return _speed(results, arm)
    if arm.parameters and base and arm.parameters >= COSTLY * base:
        return f"{100 * (arm.parameters / base - 1):.0f} % more parameters"
    return None


def _named(names: Sequence[str]) -> str:
    """Return the subject of a sentence and its verb; many names are counted, as they stand below."""
    who = listing(names) if len(names) <= _NAMED else f"{len(names)} models"
    return f"{who} {'is' if len(names) == 1 else 'are'}"


def _other_models(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"the other {len(names)}"
