"""Write what a bench found: ``bench.json``, ``bench.md`` and ``bench.png``, from its raw lines alone."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.bench import plot, tables
from yolo_attn.bench.raw import read_raw
from yolo_attn.bench.summary import Summary, summarize
from yolo_attn.util.files import replace_whole, write_json, write_whole

JSON, MARKDOWN, PLOT = "bench.json", "bench.md", "bench.png"


def write_report(folder: Path) -> tuple[Summary, str]:
    """Write summary, tables and plot of a bench beside its raw lines, and return the first two.

    Args:
        folder: Where it was measured.

    Raises:
        YoloAttnError: If there is no complete bench in it.
    """
    summary = summarize(read_raw(folder))
    text = tables.to_markdown(summary)
    write_json(folder / JSON, summary)
    figure = plot.to_png_bytes(summary)
    if figure is None:
        (folder / PLOT).unlink(missing_ok=True)
    else:
        replace_whole(folder / PLOT, lambda part: part.write_bytes(figure))
        text += f"\n![time over the floor]({PLOT})\n"
    write_whole(folder / MARKDOWN, text)
    return summary, text
