"""Write the report of a comparison: everything is rendered first, then moved into place."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.report import plots
from yolo_attn.report.csv_table import to_csv
from yolo_attn.report.drawing import to_png, to_svg_file
from yolo_attn.report.html import to_html
from yolo_attn.report.markdown import to_markdown
from yolo_attn.report.results import Results
from yolo_attn.report.run_table import run_files
from yolo_attn.util.files import write_all


def render(results: Results, out: Path) -> None:
    """Write ``report.md``, ``report.html``, ``results.csv`` and ``plots/``, each file whole or not at all.

    Plots of an earlier report that this one does not have are removed; other files are left alone. If rendering fails,
    nothing is written.

    Args:
        results: Results of a comparison.
        out: Folder of the comparison; created if needed.
    """
    drawn = plots.draw(results)
    label = f"{results.title}: "
    files = {f"plots/{name}.svg": to_svg_file(drawing, label + name).encode() for name, drawing in drawn.items()}
    files |= {f"plots/{name}.png": to_png(drawing) for name, drawing in drawn.items()}
    held = run_files(results, out)
    files["results.csv"] = to_csv(results).encode()
    files["report.md"] = to_markdown(results, plots=drawn, files=held).encode()
    files["report.html"] = to_html(results, files=held).encode()
    write_all(out, files, stale=[f"plots/{name}.{ending}" for name in plots.NAMES for ending in ("svg", "png")])
