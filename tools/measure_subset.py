"""Measure `yolo-attn subset` on a generated set as large as COCO 2017, and print a Markdown table.

``python tools/measure_subset.py FOLDER``; FOLDER needs about 2 GB and 500,000 files, and may be deleted afterwards.
"""

from instruments.subset import main

if __name__ == "__main__":
    main()
