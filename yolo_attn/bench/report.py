"""Write ``bench.json``, ``bench.md`` and ``bench.png`` from a bench's raw lines alone."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.bench import plot, tables
from yolo_attn.bench.raw import read_raw
from yolo_attn.bench.summary import Summary, summarize
from yolo_attn.util.files import replace_whole, write_json, write_whole

JSON, MARKDOWN, PLOT = "bench.json", "bench.md", "bench.png"


def write_report(folder: Path) -> tuple[Summary, str]:
    """Write summary, tables and plot of a bench next to its raw lines; return summary and tables.

    Args:
        folder: Folder of the raw lines.

    Raises:
        YoloAttnError: If it holds no complete bench.
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
