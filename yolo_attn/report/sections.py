"""Sections of the report of a comparison: their order, the head, the caveats and the small ones."""

from __future__ import annotations

from collections.abc import Iterable

from yolo_attn.report import answer
from yolo_attn.report.classes import classes_section
from yolo_attn.report.curves import draw_curves, means
from yolo_attn.report.formatting import listing, number, plural
from yolo_attn.report.main_table import main_table
from yolo_attn.report.metrics import metrics_section, statistics_section
from yolo_attn.report.names import dropped_prefix
from yolo_attn.report.parts import (
    Block,
    Bullets,
    Fold,
    Line,
    Muted,
    Panel,
    Paragraph,
    Picture,
    Report,
    Section,
    Strong,
)
from yolo_attn.report.protocol import protocol_section
from yolo_attn.report.results import Results
from yolo_attn.report.run_table import runs_section
from yolo_attn.report.speed import speed_section, tradeoff_section

_SHOWN_CAVEATS = 2


def build(results: Results, files: Iterable[str] = ()) -> Report:
    """Return the whole report; sections without content are left out.

    Args:
        results: Results of a comparison.
        files: Existing files of the runs, relative to the report.
    """
    sections = [
        Section("answer", "Main result", _answer(results)),
        _caveats(results),
        _results(results),
        tradeoff_section(results),
        metrics_section(results),
        _curves(results),
        classes_section(results),
        speed_section(results),
        statistics_section(results),
        runs_section(results, files),
        protocol_section(results),
    ]
    return Report(results.title, _subtitle(results), [s for s in sections if s.blocks])


def _subtitle(results: Results) -> str:
    facts = [
        plural(len(results.arms), "model"),
        _repeats(results),
        f"{results.runs.complete} of {results.runs.planned} runs complete",
        f"baseline {results.baseline}",
        f"evaluated on {plural(results.data.images, 'image')}" if results.data else None,
    ]
    return " · ".join(filter(None, facts))


def _repeats(results: Results) -> str | None:
    if results.protocol is None:
        return None
    return plural(len(results.protocol.seeds), "seed" if results.protocol.trained else "given training") + " each"


def _answer(results: Results) -> list[Block]:
    blocks: list[Block] = [Paragraph(results.scope)] if results.scope else []
    blocks += [Paragraph([Strong(results.note)])] if results.note else []
    blocks.append(Paragraph([Strong(answer.headline(results))]))
    lines = answer.findings(results)
    return [*blocks, Bullets(lines)] if lines else blocks


def _caveats(results: Results) -> Section:
    lines: list[Line] = []
    if missing := results.runs.planned - results.runs.complete:
        planned = plural(results.runs.planned, "planned run")
        lines.append(f"Not complete: {missing} of {planned}. The results may still change.")
    for (arm, reason), seeds in _failed(results).items():
        which = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        lines.append([Strong(f"Failed run{'s' if len(seeds) > 1 else ''}: "), f"{arm}, {which}: {reason}"])
    if unstable := [m.setting for m in results.measurements if m.unstable]:
        lines.append(f"Times are unreliable (they varied too much) at {listing(unstable)}.")
    first, rest = results.caveats[:_SHOWN_CAVEATS], results.caveats[_SHOWN_CAVEATS:]
    shown = [*lines, *first]
    blocks: list[Block] = [Bullets(shown)] if shown else []
    if rest:
        blocks.append(Fold(plural(len(rest), "further caveat"), [Bullets(rest)]))
    return Section("caveats", "Caveats", blocks, warning=True)


def _failed(results: Results) -> dict[tuple[str, str], list[int]]:
    """Return the seeds of the failed runs, by model and reason."""
    found: dict[tuple[str, str], list[int]] = {}
    for failed in results.runs.failed:
        found.setdefault((failed.arm, failed.reason), []).append(failed.seed)
    return found


def _results(results: Results) -> Section:
    blocks: list[Block] = [main_table(results)]
    if note := _how_to_read(results):
        blocks.append(Paragraph([Muted(note)]))
    alternative = f"Difference in {results.primary} to the baseline by model, as in the table."
    picture = Picture("differences", alternative, "Small dots: single seeds. Filled: significant.")
    return Section("results", "Results", [*blocks, picture])


def _how_to_read(results: Results) -> str:
    found = [arm.difference[results.primary] for arm in results.compared if results.primary in arm.difference]
    if not found:
        return ""
    notes = []
    if any(d.verdict for d in found):
        notes.append("Not significant does not mean equal: every value in the brackets is compatible with these runs.")
    if any(d.verdict == "not significant" and (d.low > 0 or d.high < 0) for d in found):
        notes.append("Where an interval excludes 0 but the verdict is not significant, that is due to the adjustment.")
    return " ".join(filter(None, [*notes, results.power]))


def _curves(results: Results) -> Section:
    drawn = draw_curves(results)
    if not drawn:
        text = "No learning curves are stored."
        return Section("curves", "Learning curves", [Paragraph(text)], folded=True)
    quantity = next(arm.curve.quantity for arm in results.arms if arm.curve)
    caption = f"{quantity} by epoch: mean over seeds, and a band from the lowest to the highest seed"
    caption += f"; {results.baseline} in grey in every panel." if len(drawn) > 1 or results.compared else "."
    caption += _curves_end(results)
    prefix = dropped_prefix(results)
    caption += f' In files, names without "{prefix}".' if prefix else ""
    panels = [Panel(drawing, arm) for arm, drawing in drawn.items()]
    blocks: list[Block] = [Picture("curves", f"{quantity} by epoch, one panel per model.", caption, panels)]
    if absent := [arm.name for arm in results.arms if not arm.curve]:
        blocks.append(Paragraph(f"No curve is stored for {listing(absent)}."))
    return Section("curves", "Learning curves", blocks, folded=True)


def _curves_end(results: Results) -> str:
    """Return a sentence on how far the ends of the curves are from the values in the table."""
    metric, apart = results.primary, []
    for arm in results.arms:
        value = arm.mean(metric)
        if arm.curve and arm.curve.quantity == metric and value is not None and (found := means(arm.curve)):
            apart.append(abs(found[-1][1] - value))
    if not apart:
        return ""
    return (
        " These are Ultralytics' validations while training, with another batch and precision, so their means end up "
        f"to {number(max(apart), 4)} from the table, which is of the finished models."
    )
