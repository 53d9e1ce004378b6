"""Print what inserting attention does to pretrained weights before any training, as a Markdown table.

``python tools/measure_insertion.py BASE.yaml WEIGHTS.pt DATA.yaml [IMGSZ]``, e.g. yolo11n.yaml yolo11n.pt coco.yaml 320
"""

import sys

from yolo_attn.insertion_table import measure, to_markdown

if __name__ == "__main__":
    base, weights, data, *rest = sys.argv[1:]
    cases = measure(base, weights, data, say=lambda s: print(s, file=sys.stderr), imgsz=int(rest[0]) if rest else 640)
    print(to_markdown(cases))
