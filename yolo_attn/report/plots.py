"""Plots of a comparison's summary, and how they become files. Nothing is computed here but where the marks go."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib import style
from matplotlib.figure import Figure

from yolo_attn.report.formatting import estimate
from yolo_attn.report.plot_curves import draw_curves
from yolo_attn.report.plot_forest import BLACK, GREY, VERDICT_COLOURS, WIDTH, Mark, draw_panel, forest_panels, shorten
from yolo_attn.report.plot_tradeoff import draw_tradeoff
from yolo_attn.report.read import (
    Arm,
    Summary,
    baseline_name,
    compared,
    difference,
    look,
    measurements,
    metrics,
    primary,
    setting,
)

NAMES = ("differences", "tradeoff", "curves", "metrics", "classes", "speed")
_MOST = 5  # classes at either end
_STYLE = {
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.edgecolor": "#555555",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.unicode_minus": True,
    "text.parse_math": False,
    "svg.fonttype": "none",
}


def draw(summary: Summary) -> dict[str, Figure]:
    """Draw every plot that the summary holds results for.

    Args:
        summary: What ``results.json`` holds; any part may be missing.

    Returns:
        Figures by name, among ``NAMES``, in that order.
    """
    drawers = (_differences, draw_tradeoff, draw_curves, _metrics, _classes, _speed)
    with styled():
        drawn = {name: drawer(summary) for name, drawer in zip(NAMES, drawers, strict=True)}
        made = {name: figure for name, figure in drawn.items() if figure is not None}
        for figure in made.values():
            figure.draw_without_rendering()  # the first drawing decides where ticks are, the next makes room for them
    return made


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG with its text as text; the same figure gives the same bytes.

    Args:
        figure: The figure.
        name: Its name; clip paths and the like are named after it.
    """
    held = io.StringIO()
    with styled(**{"svg.hashsalt": name}):
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return held.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    held = io.BytesIO()
    with styled():
        figure.savefig(held, format="png", dpi=160, metadata={"Software": None})
    return held.getvalue()


def inline(svg: str, name: str) -> str:
    """Return an SVG as an element of an HTML page that holds others.

    Args:
        svg: What ``to_svg`` returned.
        name: Its name, put before the ids that are referred to; the others are dropped.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)


@contextmanager
def styled(**more: Any) -> Iterator[None]:
    """Draw in the style of the report's plots, with further settings of matplotlib."""
    with style.context("default"), mpl.rc_context({**_STYLE, **more}):
        yield


def _differences(summary: Summary) -> Figure | None:
    metric = primary(summary)
    marks = [_mark(arm, metric) for arm in compared(summary) if difference(arm, metric)]
    if not marks:
        return None
    figure = Figure(figsize=(WIDTH, 1.0 + 0.36 * len(marks)))
    axes = figure.subplots()
    draw_panel(axes, marks)
    values = [estimate(difference(a, metric)) for a in compared(summary) if difference(a, metric)]
    for k, text in enumerate(values):
        axes.text(1.01, k, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_xlabel(f"difference in {metric} to {shorten(baseline_name(summary))}")
    return figure


def _metrics(summary: Summary) -> Figure | None:
    panels = {}
    for metric in metrics(summary):
        if marks := [_mark(arm, metric) for arm in compared(summary) if difference(arm, metric)]:
            panels[metric] = marks
    return forest_panels(panels, "difference", same_rows=True) if len(panels) > 1 else None


def _classes(summary: Summary) -> Figure | None:
    panels = {arm["name"]: marks for arm in compared(summary) if (marks := _class_marks(arm))}
    return forest_panels(panels, "difference", same_rows=False) if panels else None


def _class_marks(arm: Arm) -> list[Mark]:
    rows = [r for r in look(arm, "per_class") or [] if r.get("estimate") is not None]
    rows.sort(key=lambda r: -r["estimate"])
    if len(rows) > 2 * _MOST:
        rows = rows[:_MOST] + rows[-_MOST:]
    return [Mark(shorten(r["class"], most=18), r["estimate"], r.get("low"), r.get("high"), BLACK, True) for r in rows]


def _speed(summary: Summary) -> Figure | None:
    panels = {}
    for measurement in measurements(summary):
        timed = {a["name"]: look(measurement, "arms", a["name"]) for a in compared(summary)}
        if marks := [_speed_mark(name, t) for name, t in timed.items() if look(t, "ratio") is not None]:
            panels[setting(measurement)] = marks
    return forest_panels(panels, "time ratio", same_rows=True, zero=1.0) if panels else None


def _mark(arm: Arm, metric: str) -> Mark:
    found = difference(arm, metric)
    colour = VERDICT_COLOURS.get(found.get("verdict"), GREY)
    seeds = tuple(v for v in found.get("by_seed") or () if v is not None)
    filled = found.get("verdict") in ("better", "worse")
    return Mark(arm["name"], found["estimate"], found.get("low"), found.get("high"), colour, filled, seeds)


def _speed_mark(name: str, timed: Mapping[str, Any]) -> Mark:
    low, high = timed.get("ratio_low"), timed.get("ratio_high")
    slower, faster = low is not None and low > 1, high is not None and high < 1
    colour = VERDICT_COLOURS["worse"] if slower else VERDICT_COLOURS["better"] if faster else GREY
    return Mark(name, timed["ratio"], low, high, colour, slower or faster)
