"""Print the mAP of models as public YAMLs write them, with pretrained weights, before training and after one epoch.

``python tools/measure_public_style.py DATA.yaml yolov8n.pt MODEL.yaml [MODEL.yaml ...] [imgsz=320 batch=16 ...]``
"""

from instruments.public_style import main

if __name__ == "__main__":
    main()
