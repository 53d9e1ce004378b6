"""Render the main table for a paper: LaTeX with ``booktabs``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from yolo_attn.report.formatting import (
    MISSING,
    bounds,
    decimals,
    estimate,
    interval_name,
    number,
    p_value,
    plural,
)
from yolo_attn.report.main_table import counted, measured
from yolo_attn.report.names import is_control, ordered
from yolo_attn.report.results import ArmResult, Results

TABLE = "table.tex"

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$",
    "×": r"$\times$", "<": "$<$", ">": "$>$", "|": r"\textbar{}", "–": "--", "…": r"\dots{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}  # fmt: skip


def to_latex(results: Results) -> str:
    """Return the table of all models for a paper: accuracy, difference with interval, p, parameters and time.

    The highest mean is bold, that of controls aside. It needs the package ``booktabs``.
    """
    arms = ordered(results)
    head, rows = _head(results), {arm.name: _row(results, arm) for arm in arms}
    models = [rows[arm.name] for arm in arms if not is_control(arm)]
    controls = [rows[arm.name] for arm in arms if is_control(arm)]
    body = [*map(_line, models), *([r"\midrule", *map(_line, controls)] if controls else [])]
    return "\n".join([
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption(results))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        _line([escape(title) for title in head]),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        "\\end{table}\n",
    ])  # fmt: skip


def caption(results: Results) -> str:
    """Return the caption, not escaped: what was counted, how it was tested, and where the times were measured."""
    metric, base = results.primary, results.baseline
    runs, tested = results.runs, [arm for arm in results.compared if arm.verdict(metric)]
    facts = [results.scope, results.note]
    count = counted(results)
    facts.append(f"{metric}: mean ± standard deviation over seeds{', ' if count else ''}{count}.")
    if runs.complete < runs.planned:
        facts.append(f"{runs.complete} of {runs.planned} runs are complete.")
    if any(arm.difference for arm in results.compared):
        facts.append(f"Difference to {base}, paired by seed and image, with {interval_name(results)}.")
    if tested:
        facts.append(f"p: adjusted by Holm's method for {plural(len(tested), 'comparison')}.")
    if results.main_measurement:
        facts.append(f"ms: median time of a forward pass; {measured(results, results.main_measurement)}.")
    return " ".join([*filter(None, facts), "Bold: the highest mean, significant or not."])


def escape(text: str) -> str:
    """Return text with all that LaTeX would take for markup replaced, and signs that its fonts may lack."""
    found = re.sub(r"\s+", " ", text)
    return "".join(_SPECIAL.get(character, character) for character in found)


def _head(results: Results) -> list[str]:
    head = ["model", results.primary, f"difference [{interval_name(results)}]", "p", "params, M"]
    return [*head, "ms"] if results.main_measurement else head


def _row(results: Results, arm: ArmResult) -> list[str]:
    metric = results.primary
    found, timed = arm.difference.get(metric), results.timing(arm)
    digits = _decimals(results)
    cells = [
        escape(arm.name),
        _mean(results, arm, digits),
        escape(estimate(found, digits)),
        escape(p_value(found.p_holm if found and found.verdict else None)),
        escape(number(arm.parameters / 1e6 if arm.parameters is not None else None, 3)),
    ]
    if results.main_measurement:
        cells.append(escape(number(timed.median_ms, 2 if timed.median_ms < 10 else 1) if timed else MISSING))
    return cells


def _decimals(results: Results) -> int:
    found = [arm.difference[results.primary] for arm in results.arms if results.primary in arm.difference]
    return decimals(bounds([d for d in found if d.verdict] or found))


def _mean(results: Results, arm: ArmResult, digits: int) -> str:
    if results.primary not in arm.metrics:
        return escape(MISSING)
    values = arm.metrics[results.primary]
    mean, spread = number(values.mean, digits), f" ± {number(values.sd, digits)}" if values.sd is not None else ""
    best = max(a.mean(results.primary) or 0.0 for a in results.arms if not is_control(a))
    bold = not is_control(arm) and values.mean == best
    return (rf"\textbf{{{mean}}}" if bold else mean) + escape(spread)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
