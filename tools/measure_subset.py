"""Measure `yolo-attn subset` on a generated set as large as COCO 2017, and print a Markdown table.

``python tools/measure_subset.py FOLDER``; FOLDER needs about 2 GB and 500,000 files, and may be deleted afterwards.
"""

import sys
from pathlib import Path

from instruments.subset import measure, to_markdown, write_large_coco

CASES = ("", "--preset minitrain-25k", "--preset coco-1k")

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if not (folder / "coco").exists():
        write_large_coco(folder / "coco")
    cases = {flags: measure(folder / "coco", folder / f"out{k}", flags.split()) for k, flags in enumerate(CASES)}
    print(to_markdown(cases))
