"""Draw what the package does in one picture: rows that are inserted, the gate of a block, the verdict."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from instruments.paths import ROOT

PICTURE = ROOT / "docs" / "pictures" / "start.png"
_GATE = ROOT / "docs" / "pictures" / "show-ela.png"
_VERDICT = ROOT / "docs" / "results" / "coco3k-neck" / "plots" / "differences.png"
_GREEN, _GREY = "#1a7f37", "#57606a"


def inserted() -> tuple[list[str], str]:
    """Return what `yolo-attn insert` prints for ELA in the neck of yolo11n, and what the transfer of weights says."""
    import yolo_attn as ya

    made = ya.insert("yolo11n.yaml", "ELA", at="neck:P3,P4,P5", init="identity")
    with tempfile.TemporaryDirectory() as folder:
        file = made.save(str(Path(folder) / "yolo11n-ela.yaml"))
        report = ya.transfer_weights(ya.YOLO(file), ya.YOLO("yolo11n.yaml").model)
    base = [row for row in report.rows if not row.attention]
    loaded, tensors = (sum(getattr(row, name) for row in base) for name in ("loaded_tensors", "tensors"))
    return str(made).splitlines(), f"pretrained weights: {loaded} of {tensors} tensors"


def draw(file: Path) -> None:
    """Draw the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    figure = Figure(figsize=(12, 3.6), facecolor="white")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(4.4, 2.3, 5.0))
    titles = ("1. insert", "2. look", "3. compare, honestly")
    for axes, title, x in zip((left, middle, right), titles, (0.012, 0.385, 0.595), strict=True):
        axes.axis("off")
        figure.text(x, 0.93, title, fontsize=12, fontweight="bold")
    changes, transferred = inserted()
    lines = [line for line in changes if line[:1] in "+~"]
    for number, line in enumerate(lines):
        colour = _GREEN if line.startswith("+") else _GREY
        text = line.split("   was")[0]
        at = {"x": 0, "y": 0.88 - 0.13 * number, "transform": left.transAxes}
        left.text(s=text, family="monospace", fontsize=9.5, color=colour, **at)
    below = 0.88 - 0.13 * len(lines) - 0.05
    for number, text in enumerate((transferred, "before training it computes what yolo11n computes")):
        left.text(0, below - 0.12 * number, text, fontsize=10.5, transform=left.transAxes)
    middle.imshow(imread(_GATE)[50:545, 103:474], interpolation="bilinear")
    right.imshow(imread(_VERDICT), interpolation="bilinear")
    figure.subplots_adjust(left=0.01, right=0.995, top=0.9, bottom=0.01, wspace=0.04)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Run ``tools/draw_start.py``: write the picture and print its path."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    draw(PICTURE)
    print(PICTURE.relative_to(ROOT))
