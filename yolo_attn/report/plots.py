"""Draw the plots of a comparison, and convert them to SVG and PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import matplotlib as mpl
from matplotlib import style
from matplotlib.figure import Figure

from yolo_attn.report.formatting import estimate
from yolo_attn.report.plot_curves import draw_curves
from yolo_attn.report.plot_forest import BLACK, GREY, VERDICT_COLOURS, WIDTH, Mark, draw_panel, forest_panels, shorten
from yolo_attn.report.plot_tradeoff import draw_tradeoff
from yolo_attn.report.results import ArmResult, Results, Timing

NAMES = ("differences", "tradeoff", "curves", "metrics", "classes", "speed")
_MOST = 5  # classes at either end
_STYLE: dict[str, Any] = {
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


def draw(results: Results) -> dict[str, Figure]:
    """Draw all plots for which there are results.

    Args:
        results: Results of a comparison.

    Returns:
        Figures by name, among ``NAMES``, in that order.
    """
    drawers = (_differences, draw_tradeoff, draw_curves, _metrics, _classes, _speed)
    with styled():
        drawn = {name: drawer(results) for name, drawer in zip(NAMES, drawers, strict=True)}
        made = {name: figure for name, figure in drawn.items() if figure is not None}
        for figure in made.values():
            figure.draw_without_rendering()  # the first drawing decides where ticks are, the next makes room for them
    return made


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG with text as text; equal figures give equal bytes.

    Args:
        figure: The figure.
        name: Name that ids of clip paths are derived from.
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
    """Return an SVG as an element for an HTML page with several SVGs.

    Args:
        svg: Return value of :func:`to_svg`.
        name: Prefix of ids that are referred to; other ids are removed.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)


@contextmanager
def styled(**more: Any) -> Iterator[None]:
    """Apply the style of the report's plots and further settings of matplotlib."""
    with style.context("default"), mpl.rc_context(cast(Any, {**_STYLE, **more})):
        yield


def _differences(results: Results) -> Figure | None:
    metric = results.primary
    tested = [arm for arm in results.compared if metric in arm.difference]
    if not tested:
        return None
    figure = Figure(figsize=(WIDTH, 1.0 + 0.36 * len(tested)))
    axes = figure.subplots()
    draw_panel(axes, [_mark(arm, metric) for arm in tested])
    for k, arm in enumerate(tested):
        text = estimate(arm.difference[metric])
        axes.text(1.01, k, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_xlabel(f"difference in {metric} to {shorten(results.baseline)}")
    return figure


def _metrics(results: Results) -> Figure | None:
    panels = {}
    for metric in results.metrics:
        if marks := [_mark(arm, metric) for arm in results.compared if metric in arm.difference]:
            panels[metric] = marks
    return forest_panels(panels, "difference", same_rows=True) if len(panels) > 1 else None


def _classes(results: Results) -> Figure | None:
    panels = {arm.name: marks for arm in results.compared if (marks := _class_marks(arm))}
    return forest_panels(panels, "difference", same_rows=False) if panels else None


def _class_marks(arm: ArmResult) -> list[Mark]:
    rows = sorted(arm.per_class, key=lambda row: -row.estimate)
    if len(rows) > 2 * _MOST:
        rows = rows[:_MOST] + rows[-_MOST:]
    return [Mark(shorten(row.name, most=18), row.estimate, row.low, row.high, BLACK, True) for row in rows]


def _speed(results: Results) -> Figure | None:
    panels = {}
    for measurement in results.measurements:
        timed = {arm.name: measurement.arms[arm.name] for arm in results.compared if arm.name in measurement.arms}
        if timed:
            panels[measurement.setting] = [_speed_mark(name, timing) for name, timing in timed.items()]
    return forest_panels(panels, "time ratio", same_rows=True, zero=1.0) if panels else None


def _mark(arm: ArmResult, metric: str) -> Mark:
    found = arm.difference[metric]
    colour, filled = VERDICT_COLOURS.get(found.verdict or "", GREY), found.verdict in ("better", "worse")
    return Mark(arm.name, found.estimate, found.low, found.high, colour, filled, found.by_seed)


def _speed_mark(name: str, timed: Timing) -> Mark:
    colour = {"slower": VERDICT_COLOURS["worse"], "faster": VERDICT_COLOURS["better"]}.get(timed.verdict or "", GREY)
    return Mark(name, timed.ratio, timed.ratio_low, timed.ratio_high, colour, timed.verdict is not None)
