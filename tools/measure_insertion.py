"""Print what inserting attention does to pretrained weights before any training, as a Markdown table.

``python tools/measure_insertion.py BASE.yaml WEIGHTS.pt DATA.yaml [IMGSZ]``, e.g. yolo11n.yaml yolo11n.pt coco.yaml 320
"""

import contextlib
import sys

from instruments.insertion_table import measure, to_markdown

if __name__ == "__main__":
    base, weights, data, *rest = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
        cases = measure(base, weights, data, say=print, imgsz=int(rest[0]) if rest else 640)
    print(to_markdown(cases))
