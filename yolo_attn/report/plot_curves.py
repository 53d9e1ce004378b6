"""Draw learning curves: one panel per model, with the baseline in grey."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolo_attn.report.plot_forest import BLUE, GREY, grid, is_leftmost, label_lowest, shorten
from yolo_attn.report.results import Curve, Results


def draw_curves(results: Results) -> Figure | None:
    """Draw mean and range over seeds by epoch; ``None`` where no curve is stored."""
    reference = results.baseline_arm.curve
    drawn = {arm.name: arm.curve for arm in results.compared if arm.curve}
    if reference and not drawn:
        drawn = {results.baseline: reference}
    if not drawn:
        return None
    figure, cells = grid(len(drawn), 1.9)
    for k, (axes, (name, curve)) in enumerate(zip(cells, drawn.items(), strict=True)):
        if k:
            axes.sharex(cells[0])
            axes.sharey(cells[0])
            axes.tick_params(labelleft=is_leftmost(axes))
        if reference and curve is not reference:
            _draw(axes, reference, GREY, 1.4)
        _draw(axes, curve, GREY if curve is reference else BLUE, 1.8)
        axes.set_title(shorten(name), loc="left", fontweight="bold")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        label_lowest(axes, cells, "epoch")
        if is_leftmost(axes):
            axes.set_ylabel(curve.quantity)
    return figure


def _draw(axes: Axes, curve: Curve, colour: str, width: float) -> None:
    epochs, seeds = curve.epochs, curve.by_seed
    values = np.full((len(seeds), len(epochs)), np.nan)  # a run that stopped early leaves the rest empty
    for row, seed in zip(values, seeds, strict=True):
        row[: len(seed)] = [np.nan if v is None else v for v in seed]
    held = ~np.isnan(values).all(axis=0)
    x, values = np.asarray(epochs)[held], values[:, held]
    if len(seeds) > 1:
        axes.fill_between(
            x, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=colour, alpha=0.22, linewidth=0
        )
    axes.plot(x, np.nanmean(values, axis=0), color=colour, linewidth=width, marker="o" if len(x) == 1 else None)
