"""Pictures of a comparison's results. Nothing is computed here; matplotlib is imported when a plot is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_CELL, _BAR = 256, 28  # pixels: side of a picture in a sheet, height of its heading


def plot_results(results: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """Plot training loss by epoch and final mAP of several runs.

    Args:
        results: Stored results by model.
        path: PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (losses, bars) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    width = 0.8 / len(results)
    for k, (name, result) in enumerate(results.items()):
        total = [sum(v for key, v in epoch.items() if key.startswith("train/")) for epoch in result["epochs"]]
        losses.plot([int(epoch["epoch"]) for epoch in result["epochs"]], total, marker="o", label=name)
        heights = [result["metrics"]["mAP50"], result["metrics"]["mAP50-95"]]
        drawn = bars.bar([i + (k - (len(results) - 1) / 2) * width for i in range(2)], heights, width * 0.9, label=name)
        bars.bar_label(drawn, fmt="%.3f", padding=2)
    losses.set(xlabel="epoch", ylabel="training loss, sum of parts", title="training")
    losses.set_xticks(range(1, 1 + max(len(r["epochs"]) for r in results.values())))
    bars.set(title="validation, last epoch", xticks=[0, 1], xticklabels=["mAP50", "mAP50-95"], ylim=(0, 1))
    bars.legend(frameon=False)
    for axes in (losses, bars):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def draw_truth(image: Path) -> np.ndarray:
    """Return an image of a YOLO set with its labelled boxes drawn."""
    picture = cv2.imread(str(image))
    height, width = picture.shape[:2]
    label = image.parents[2] / "labels" / image.parent.name / f"{image.stem}.txt"
    for line in label.read_text(encoding="utf-8").splitlines():
        _, cx, cy, w, h = map(float, line.split())
        corners = [(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height]
        left, top, right, bottom = (round(c) for c in corners)
        cv2.rectangle(picture, (left, top), (right, bottom), (255, 255, 255), 1)
    return picture


def save_sheet(columns: Mapping[str, Sequence[np.ndarray]], path: Path) -> Path:
    """Put columns of square pictures under their headings into one PNG."""
    made = []
    for heading, pictures in columns.items():
        bar = np.full((_BAR, _CELL, 3), 255, np.uint8)
        cv2.putText(bar, heading, (6, _BAR - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        cells = [cv2.resize(p, (_CELL, _CELL), interpolation=cv2.INTER_CUBIC) for p in pictures]
        made.append(np.vstack([bar, *cells]))
    if not cv2.imwrite(str(path), np.hstack(made)):
        raise OSError(f"cannot write '{path}'")
    return path
