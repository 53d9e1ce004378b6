"""Write the report of a comparison: everything is rendered first, then moved into place."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.report import plots
from yolo_attn.report.csv_table import to_csv
from yolo_attn.report.html import to_html
from yolo_attn.report.markdown import to_markdown
from yolo_attn.report.results import Results
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
    svgs = {name: plots.to_svg(figure, name) for name, figure in drawn.items()}
    files = {f"plots/{name}.svg": svg.encode() for name, svg in svgs.items()}
    files |= {f"plots/{name}.png": plots.to_png(figure) for name, figure in drawn.items()}
    files["results.csv"] = to_csv(results).encode()
    files["report.md"] = to_markdown(results, plots=drawn).encode()
    files["report.html"] = to_html(results, svgs).encode()
    write_all(out, files, stale=[f"plots/{name}.{ending}" for name in plots.NAMES for ending in ("svg", "png")])
