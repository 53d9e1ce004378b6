"""Compare the epochs of Ultralytics' trainer, of ``yolo-attn train`` and of a comparison's runs, in turn.

``python tools/measure_epochs.py model=yolo11n.yaml data=mine.yaml imgsz=320 batch=16 workers=2 device=cpu``, with
``device=0`` on a GPU. ``--rounds 3``: trainings by each of the three, every one in a process of its own.
"""

from instruments.epochs import main

if __name__ == "__main__":
    main()
