"""Print the mAP of pretrained weights with inserted attention before any training, as a Markdown table.

``python tools/measure_insertion.py BASE.yaml WEIGHTS.pt DATA.yaml [IMGSZ]``, e.g. yolo11n.yaml yolo11n.pt coco.yaml 320
"""

from instruments.insertion_table import main

if __name__ == "__main__":
    main()
