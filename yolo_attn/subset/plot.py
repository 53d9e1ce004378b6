"""Plot the classes and sizes of a subset and of the whole set. Imports matplotlib when a plot is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolo_attn.subset.choice import SIZES

WHOLE, PART, RANDOM = "#b8c4d0", "#c2410c", "#6b7280"
MAX_CLASSES = 160  # more names than this cannot be read in one row


def plot_summary(summary: Mapping[str, Any], path: Path) -> Path:
    """Draw one row per split that is a part of the whole: shares of the classes, their errors, and the sizes.

    Args:
        summary: What `summarize` returned; at least one split is a part.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    splits = {split: numbers for split, numbers in summary["splits"].items() if "divergence" in numbers}
    classes = min(MAX_CLASSES, max(len(numbers["classes"]) for numbers in splits.values()))
    width = float(np.clip(4 + 0.19 * classes, 9, 34))
    figure = Figure(figsize=(width, 6.4 * len(splits)), layout="constrained")
    rows = figure.subfigures(len(splits), 1, squeeze=False)[:, 0]
    for row, (split, numbers) in zip(rows, splits.items(), strict=True):
        of = f"{numbers['images']:,} of {numbers['of_images']:,} images, {numbers['boxes']:,} boxes"
        row.suptitle(f"{split}: {of}", fontweight="bold")
        axes = row.subplots(2, 2, width_ratios=(max(width - 3, 5), 2.4), height_ratios=(3, 2))
        _draw_classes(axes[:, 0], numbers)
        _draw_sizes(axes[0, 1], numbers)
        _draw_divergence(axes[1, 1], numbers)
        for each in axes.flat:
            each.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure).print_png(path)
    return path


def _draw_classes(axes: np.ndarray, numbers: Mapping[str, Any]) -> None:
    """Draw the shares, most frequent class first, and below them the error of the subset."""
    ranked = sorted(numbers["classes"].items(), key=lambda item: -item[1]["of_boxes"])[:MAX_CLASSES]
    at = np.arange(len(ranked))
    whole = 100 * np.array([row["of_boxes"] for _, row in ranked]) / max(numbers["of_boxes"], 1)
    part = 100 * np.array([row["boxes"] for _, row in ranked]) / max(numbers["boxes"], 1)
    shares, errors = axes
    shares.bar(at, whole, 0.8, color=WHOLE, label="whole set")
    shares.plot(at[part > 0], part[part > 0], "o", color=PART, markersize=4, label="subset")
    absent = (part == 0) & (whole > 0)
    if absent.any():
        shares.plot(at[absent], whole[absent], "x", color=PART, markersize=6, label="not in the subset")
    shares.set(yscale="log" if whole.any() else "linear", ylabel="share of the boxes, %")
    shares.yaxis.set_major_formatter("{x:g}")
    shares.legend(frameon=False, loc="upper right")
    errors.bar(at, [100 * row["share_error"] for _, row in ranked], 0.8, color=PART)
    errors.axhline(0, color="black", linewidth=0.8)
    errors.set(ylabel="error of the share, %")
    errors.set_xticks(at, [name for name, _ in ranked], rotation=90, fontsize=8)
    shares.set_xticks(at, [])
    for each in axes:
        each.set_xlim(-0.8, len(ranked) - 0.2)
        each.grid(axis="y", alpha=0.3)
        each.set_axisbelow(True)


def _draw_sizes(axes: Any, numbers: Mapping[str, Any]) -> None:
    for key, shift, color, label in (
        ("of_boxes_by_size", -0.2, WHOLE, "whole set"),
        ("boxes_by_size", 0.2, PART, "subset"),
    ):
        counts = np.array([numbers[key][size] for size in SIZES])
        drawn = axes.bar(np.arange(3) + shift, 100 * counts / max(counts.sum(), 1), 0.38, color=color, label=label)
        axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=8)
    axes.set(title="sizes, % of the boxes", yticks=[])
    axes.set_xticks(range(3), SIZES)
    axes.spines["left"].set_visible(False)


def _draw_divergence(axes: Any, numbers: Mapping[str, Any]) -> None:
    kinds = {"class": "class", "class_size": "class\nx size", "boxes_per_image": "boxes\nper image"}
    values = {key: [numbers["divergence"][key][kind] for kind in kinds] for key in ("random", "subset")}
    at = np.arange(len(kinds))
    axes.bar(at - 0.2, values["random"], 0.38, color=RANDOM, label="random")
    axes.bar(at + 0.2, values["subset"], 0.38, color=PART, label="subset")
    axes.set(title="JS divergence, bits", yscale="log" if any(values["random"]) else "linear")
    axes.set_xticks(range(len(kinds)), list(kinds.values()), fontsize=8)
    axes.legend(frameon=False, fontsize=8)
