"""Sentences on what a comparison shows: the head of the report, and accuracy against speed."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.report.formatting import estimate, listing, number, p_value, slowdown_interval, slower_or_faster
from yolo_attn.report.parts import Line, Part, Strong, Verdict
from yolo_attn.report.results import ArmResult, Results

_NO_DIFFERENCE = "not significant"


def headline(results: Results) -> str:
    """Return one or two sentences that name the models which differ from the baseline."""
    metric, name = results.primary, results.baseline
    if not any(arm.is_complete for arm in results.arms):
        return f"No results yet: no run {f'of {name} ' if results.runs.complete else ''}is complete."
    if not results.compared:
        return f"Nothing to compare: {name} is the only model."
    judged = [arm for arm in results.compared if arm.verdict(metric)]
    if not judged:
        return f"No difference in {metric} to {name} could be tested."
    named = {
        word: [arm.name for arm in judged if arm.verdict(metric) == word]
        for word in ("better", "worse", _NO_DIFFERENCE)
    }
    if len(named[_NO_DIFFERENCE]) == len(judged):
        who = f"None of the {len(judged)} models is" if len(judged) > 1 else f"{judged[0].name} is not"
        return f"{who} significantly better or worse than {name} in {metric}."
    clauses = [f"{listing(named[w])} {_is_or_are(named[w])} significantly {w}" for w in ("better", "worse") if named[w]]
    rest = named[_NO_DIFFERENCE]
    unknown = f" No significant difference was found for {_other_models(rest)}." if rest else ""
    return f"{' and '.join(clauses)} than {name} in {metric}.{unknown}"


def answers(results: Results) -> list[Line]:
    """Return one sentence per model on its difference to the baseline in accuracy and speed."""
    return [_answer(results, arm) for arm in results.compared]


def tradeoff(results: Results) -> list[Line]:
    """Return which models are better or worse in accuracy and in speed, one line per combination."""
    metric, name = results.primary, results.baseline
    found: dict[tuple[str, str | None], list[str]] = {}
    for arm in results.compared:
        verdict, timing = arm.verdict(metric), results.timing(arm)
        if verdict and timing:
            found.setdefault((verdict, timing.verdict), []).append(arm.name)
    words = {
        ("better", "faster"): f"Better in {metric} and faster than {name}",
        ("better", None): f"Better in {metric}, no significant difference in speed",
        ("better", "slower"): f"Better in {metric}, but slower",
        (_NO_DIFFERENCE, "faster"): f"Faster, no significant difference in {metric}",
        (_NO_DIFFERENCE, None): f"No significant difference in {metric} or in speed",
        (_NO_DIFFERENCE, "slower"): f"Slower, no significant difference in {metric}",
        ("worse", "faster"): f"Faster, but worse in {metric}",
        ("worse", None): f"Worse in {metric}, no significant difference in speed",
        ("worse", "slower"): f"Worse in {metric} and slower",
    }
    return [[Strong(f"{text}: "), ", ".join(found[key])] for key, text in words.items() if key in found]


def _answer(results: Results, arm: ArmResult) -> Line:
    line: list[Part] = [Strong(arm.name), f" ({arm.kind})" if "control" in arm.kind else "", ": "]
    if not arm.is_complete:
        return [*line, "no complete run."]
    return [*line, *_accuracy(results, arm), _speed(results, arm), "."]


def _accuracy(results: Results, arm: ArmResult) -> list[Part]:
    metric = results.primary
    found = arm.difference.get(metric)
    if found is None:
        return [f"{metric} {number(arm.mean(metric))}, not compared with a baseline"]
    text = f"{estimate(found)} {metric} against {results.baseline}: "
    if found.verdict is None:
        return [text + ("not tested, with one seed" if len(results.paired_seeds(arm)) == 1 else "not tested")]
    return [text, Verdict(found.verdict), f" (p = {p_value(found.p_holm)})".replace("= <", "<")]


def _speed(results: Results, arm: ArmResult) -> str:
    measurement, timed = results.main_measurement, results.timing(arm)
    if measurement is None or timed is None:
        return "; speed not measured"
    at = f" at batch {measurement.batch} {slowdown_interval(timed.ratio_low, timed.ratio_high)} %"
    doubt = " (unstable measurement)" if measurement.unstable else ""
    return f"; {slower_or_faster(timed.ratio) if timed.verdict else 'no significant difference in speed'}{at}{doubt}"


def _is_or_are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _other_models(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"the other {len(names)}"
