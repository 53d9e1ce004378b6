"""Measure what the gate log and the stored state add to a training: CPU seconds of this process, and megabytes.

``python tools/measure_training.py model=yolo11n-ela.yaml data=mine.yaml imgsz=320 device=cpu workers=0``: what
``yolo-attn train`` takes; two epochs with mosaics.
"""

from instruments.training import main

if __name__ == "__main__":
    main()
