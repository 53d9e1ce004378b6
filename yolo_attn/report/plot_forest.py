"""Draw forest plots: estimates with their intervals, one row each, in one or several panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

WIDTH = 8.4  # inches, of every figure
BLACK, GREY, BLUE, RED = "#333333", "#6b6b6b", "#0072b2", "#d55e00"
VERDICT_COLOURS = {"better": BLUE, "worse": RED, "not significant": GREY}


@dataclass(frozen=True)
class Mark:
    """One row of a forest plot.

    Attributes:
        name: Label of the row.
        estimate: The point.
        low: Lower bound of the interval, or ``None``.
        high: Upper bound, or ``None``.
        colour: Colour of point and interval.
        filled: Whether the point is filled.
        singles: Further single values, drawn small.
    """

    name: str
    estimate: float
    low: float | None
    high: float | None
    colour: str = GREY
    filled: bool = False
    singles: tuple[float, ...] = ()


def draw_panel(axes: Axes, marks: Sequence[Mark], zero: float = 0.0, ticks: int = 7) -> None:
    """Draw one forest plot, the first mark on top.

    Args:
        axes: Axes to draw on.
        marks: Rows, from top to bottom.
        zero: Value of "no difference".
        ticks: Approximate number of ticks.
    """
    axes.axvline(zero, color=GREY, linewidth=1.2, zorder=1)
    for row, mark in enumerate(marks):
        if mark.low is not None and mark.high is not None:
            axes.plot(
                [mark.low, mark.high], [row, row], color=mark.colour, linewidth=2, solid_capstyle="butt", zorder=2
            )
        axes.plot(mark.singles, [row + 0.27] * len(mark.singles), ".", color="#9a9a9a", markersize=4, zorder=2)
        inside = mark.colour if mark.filled else "white"
        axes.plot(mark.estimate, row, "o", color=mark.colour, markerfacecolor=inside, markersize=6, zorder=3)
    axes.set_yticks(range(len(marks)), [shorten(mark.name) for mark in marks])
    axes.set_ylim(len(marks) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10]))


def forest_panels(panels: Mapping[str, Sequence[Mark]], quantity: str, same_rows: bool, zero: float = 0.0) -> Figure:
    """Draw several forest plots with a common scale.

    Args:
        panels: Rows by title of the panel.
        quantity: Label of the scale.
        same_rows: Whether all panels have the same rows; then only the leftmost panels name them.
        zero: Value of "no difference".
    """
    if same_rows:
        names = list(dict.fromkeys(mark.name for marks in panels.values() for mark in marks))
    height = max(len(names) if same_rows else len(marks) for marks in panels.values())
    figure, cells = grid(len(panels), 0.6 + 0.25 * height)
    low, high = _limits([mark for marks in panels.values() for mark in marks], zero)
    for axes, (title, marks) in zip(cells, panels.items(), strict=True):
        draw_panel(
            axes, _aligned(marks, names) if same_rows else marks, zero, ticks=4 if _columns(len(panels)) > 2 else 7
        )
        axes.set_title(shorten(title), loc="left", fontweight="bold")
        axes.set_xlim(low, high)
        if same_rows and not is_leftmost(axes):
            axes.set_yticklabels([])
        label_lowest(axes, cells, quantity)
    return figure


def grid(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of panels, up to three per row, each ``height`` inches high."""
    columns = _columns(panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.4), layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.06))
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in cells[panels:]:
        empty.remove()
    return figure, cells[:panels]


def is_leftmost(axes: Axes) -> bool:
    """Return whether a panel is the first of its row."""
    place = axes.get_subplotspec()
    return place is not None and place.is_first_col()


def label_lowest(axes: Axes, cells: Sequence[Axes], quantity: str) -> None:
    """Label the scale of a panel if no other panel is below it; remove the numbers of the other scales."""
    lowest = cells.index(axes) + _columns(len(cells)) >= len(cells)
    axes.tick_params(axis="x", labelbottom=lowest)
    if lowest:
        axes.set_xlabel(quantity)


def shorten(name: str, most: int = 30) -> str:
    """Shorten a name to at most ``most`` characters.

    Examples:
        >>> shorten("yolo11n"), shorten("a very long name", most=9)
        ('yolo11n', 'a ve…name')
    """
    name = " ".join(name.split())
    keep = most // 2
    return name if len(name) <= most else f"{name[: most - keep - 1]}…{name[-keep:]}"


def _columns(panels: int) -> int:
    return panels if panels < 3 else 2 if panels == 4 else 3


def _aligned(marks: Sequence[Mark], names: Sequence[str]) -> list[Mark]:
    held = {mark.name: mark for mark in marks}
    return [held.get(name, Mark(name, np.nan, None, None)) for name in names]


def _limits(marks: Sequence[Mark], zero: float) -> tuple[float, float]:
    values = [v for m in marks for v in (zero, m.estimate, m.low, m.high, *m.singles) if v is not None]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin
