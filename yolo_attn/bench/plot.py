"""Plot the summary of a bench: time over the floor, per block, shape and pass."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from yolo_attn.bench.summary import Summary
from yolo_attn.util.plotting import styled, to_png

_MARKS = {
    "ours fused": ("*", "#cc79a7"),
    "ours fused compiled": ("X", "#cc79a7"),
    "ours fused graph": ("P", "#cc79a7"),
    "ours": ("o", "#0072b2"),
    "tutorial": ("s", "#d55e00"),
    "timm": ("D", "#009e73"),
    "ours compiled": ("o", "#56b4e9"),
    "tutorial compiled": ("s", "#e69f00"),
    "ours graph": ("^", "#0072b2"),
    "tutorial graph": ("^", "#d55e00"),
}
_TICKS = (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500)


def draw(summary: Summary) -> Figure | None:
    """Draw the first precision and layout of a bench; return ``None`` if no floor was measured."""
    blocks = [block for block in summary["blocks"] if "floor" in block["times"]]
    if not blocks:
        return None
    first = blocks[0]["dtype"], blocks[0]["layout"]
    blocks = [block for block in blocks if (block["dtype"], block["layout"]) == first]
    names = list(dict.fromkeys(block["block"] for block in blocks))
    shapes = list(dict.fromkeys(block["shape"] for block in blocks))
    passes = list(dict.fromkeys(block["pass"] for block in blocks))
    shown = [name for name in _MARKS if any(name in block["times"] for block in blocks)]
    with styled():
        panel_height = 0.7 + len(names) * (0.12 + 0.06 * len(shown))
        figure = Figure(figsize=(1.6 + 3.3 * len(shapes), 1.5 + len(passes) * panel_height))
        grid = figure.subplots(len(passes), len(shapes), squeeze=False, sharex=True, sharey=True)
        for row, pass_ in zip(grid, passes, strict=True):
            for axes, shape in zip(row, shapes, strict=True):
                panel = [block for block in blocks if (block["shape"], block["pass"]) == (shape, pass_)]
                _draw_panel(axes, panel, names, shown)
                axes.set_title(f"{shape}, {pass_}")
        for axes in grid[-1]:
            axes.set_xlabel("time over the floor")
        _add_legend(figure, grid[0][0], shown)
        where = summary["environment"].get("gpu") or f"{summary['environment']['cpu']}"
        figure.suptitle(f"{where}, {', '.join(first)}", fontsize=11)
    return figure


def to_png_bytes(summary: Summary) -> bytes | None:
    """Return the plot as a PNG, or ``None`` if there is nothing to draw."""
    figure = draw(summary)
    return None if figure is None else to_png(figure)


def _draw_panel(axes: Axes, blocks: list[Summary], names: list[str], shown: list[str]) -> None:
    for block in blocks:
        at = names.index(block["block"])
        for name in (name for name in shown if name in block["times"]):
            marker, colour = _MARKS[name]
            floor = block["times"]["floor"]["median_ms"]
            low, middle, high = (block["times"][name][key] / floor for key in ("p5_ms", "median_ms", "p95_ms"))
            y = at + 0.7 * ((shown.index(name) + 0.5) / len(shown) - 0.5)
            axes.plot([low, high], [y, y], color=colour, linewidth=1, alpha=0.5)
            hollow = name == "timm" and not block["timm_is_same"]
            inside, edge = ("white", colour) if hollow else (colour, "white")
            axes.plot(
                middle, y, marker, markersize=5, markerfacecolor=inside, markeredgecolor=edge, markeredgewidth=0.7
            )
    axes.axvline(1, color="#444444", linewidth=1, linestyle="--", zorder=1.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _add_legend(figure: Figure, axes: Axes, shown: list[str]) -> None:
    handles = [axes.plot([], [], _MARKS[name][0], color=_MARKS[name][1], markersize=6, label=name)[0] for name in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(shown), frameon=False, fontsize=9)
