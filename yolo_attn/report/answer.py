"""What is known and what is not, in sentences: the head of a report, and its words on accuracy against speed."""

from __future__ import annotations

from yolo_attn.report.formatting import estimate, listing, number, p_value, slowdown_interval, slower_or_faster
from yolo_attn.report.parts import Line, Part, Strong, Verdict
from yolo_attn.report.read import (
    Arm,
    Summary,
    baseline,
    baseline_name,
    compared,
    difference,
    is_complete,
    look,
    main_measurement,
    mean,
    paired_seeds,
    primary,
)


def headline(summary: Summary) -> str:
    """Say in one or two sentences which models differ from the baseline."""
    metric, name = primary(summary), baseline_name(summary)
    if not any(is_complete(arm) for arm in [*compared(summary), *filter(None, [baseline(summary)])]):
        complete = look(summary, "runs", "complete")
        return f"Nothing is known yet: no run {f'of {name} ' if complete else ''}is complete."
    if not compared(summary):
        return f"Nothing is compared: {name} is the only model."
    judged = [arm for arm in compared(summary) if verdict(arm, metric)]
    if not judged:
        return f"No difference in {metric} to {name} could be tested."
    named = {
        word: [a["name"] for a in judged if verdict(a, metric) == word]
        for word in ("better", "worse", "not significant")
    }
    if len(named["not significant"]) == len(judged):
        who = f"None of the {len(judged)} models is" if len(judged) > 1 else f"{judged[0]['name']} is not"
        return f"{who} significantly better or worse than {name} in {metric}."
    said = [f"{listing(named[w])} {_is(named[w])} significantly {w}" for w in ("better", "worse") if named[w]]
    rest = named["not significant"]
    unknown = f" For {_the_rest(rest)} no difference is shown." if rest else ""
    return f"{' and '.join(said)} than {name} in {metric}.{unknown}"


def answers(summary: Summary) -> list[Line]:
    """Say of each model what is known of it, against the baseline."""
    return [_answer(summary, arm) for arm in compared(summary)]


def verdict(arm: Arm, metric: str) -> str | None:
    """Return the verdict on an arm, where it was tested."""
    return look(difference(arm, metric), "verdict")


def speed_against_baseline(summary: Summary, arm: Arm) -> str | None:
    """Return ``"slower"``, ``"faster"`` or ``"not shown"``; ``None`` where it was not measured against the baseline."""
    low, high = (look(main_measurement(summary), "arms", arm["name"], key) for key in ("ratio_low", "ratio_high"))
    if low is None or high is None:
        return None
    return "slower" if low > 1 else "faster" if high < 1 else "not shown"


def tradeoff(summary: Summary) -> list[Line]:
    """Say which models are worth their time, as far as the intervals tell; one line per kind of answer."""
    metric, name = primary(summary), baseline_name(summary)
    found: dict[tuple[str, str], list[str]] = {}
    for arm in compared(summary):
        key = (verdict(arm, metric), speed_against_baseline(summary, arm))
        if None not in key:
            found.setdefault(key, []).append(arm["name"])
    words = {
        ("better", "faster"): f"Better in {metric} and faster than {name}",
        ("better", "not shown"): f"Better in {metric}, with no difference in speed shown",
        ("better", "slower"): f"Better in {metric}, at a cost in time",
        ("not significant", "faster"): f"Faster, with no difference in {metric} shown",
        ("not significant", "not shown"): f"No difference shown in {metric} or in speed",
        ("not significant", "slower"): f"Slower, with no difference in {metric} shown",
        ("worse", "faster"): f"Faster, at a cost in {metric}",
        ("worse", "not shown"): f"Worse in {metric}, with no difference in speed shown",
        ("worse", "slower"): f"Worse in {metric} and slower",
    }
    return [[Strong(f"{text}: "), ", ".join(found[key])] for key, text in words.items() if key in found]


def _answer(summary: Summary, arm: Arm) -> Line:
    line: list[Part] = [Strong(arm["name"]), _kind(arm), ": "]
    if not is_complete(arm):
        return [*line, "no complete run, so nothing is known."]
    return [*line, *_accuracy(summary, arm), *_speed(summary, arm), "."]


def _kind(arm: Arm) -> str:
    kind = arm.get("kind")
    return f" ({kind})" if kind and "control" in kind else ""


def _accuracy(summary: Summary, arm: Arm) -> list[Part]:
    metric = primary(summary)
    found = difference(arm, metric)
    if found is None:
        return [f"{metric} {number(mean(arm, metric))}, not compared with a baseline"]
    text = f"{estimate(found)} {metric} against {baseline_name(summary)}: "
    if not found.get("verdict"):
        return [text + ("not tested, with one seed" if len(paired_seeds(arm, summary)) == 1 else "not tested")]
    p = f" (p = {p_value(found['p_holm'])})".replace("= <", "<") if found.get("p_holm") is not None else ""
    return [text, Verdict(found["verdict"]), p]


def _speed(summary: Summary, arm: Arm) -> list[Part]:
    measurement = main_measurement(summary)
    timed = look(measurement, "arms", arm["name"])
    if not timed or timed.get("ratio") is None:
        return ["; speed not measured" if not timed else "; speed not compared"]
    at = f" at batch {measurement.get('batch') or 1}"
    low, high = timed.get("ratio_low"), timed.get("ratio_high")
    doubt = " (unstable measurement)" if measurement.get("unstable") else ""
    if low is None or high is None:
        return [f"; {slower_or_faster(timed['ratio'])}{at}, without an interval{doubt}"]
    bounds = f"{slowdown_interval(low, high)} %"
    if low <= 1 <= high:
        return [f"; no difference in speed shown{at} {bounds}{doubt}"]
    return [f"; {slower_or_faster(timed['ratio'])}{at} {bounds}{doubt}"]


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _the_rest(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"the other {len(names)}"
