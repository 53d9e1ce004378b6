"""Run every command without a network and print the outcomes: ``python -m robustness.offline FOLDER [--block]``.

FOLDER holds ``coco/``, ``data.yaml``, ``base.pt``, ``image.jpg``, ``tiny.yaml`` and ``tiny-ela.yaml``. With ``--block``
sockets are blocked in this process; otherwise the caller has to cut the network.
"""

import contextlib
import io
import json
import os
import socket
import sys
import time
import traceback

TINY = "epochs=1 imgsz=32 batch=8 workers=0 plots=False val=False optimizer=SGD amp=False "
TINY += "project=PROJECT name=x exist_ok=True"
BEST = "PROJECT/x/weights/best.pt"
COMMANDS = {  # text of their error without a network; empty if they need none
    "blocks": "",
    "insert yolo11n.yaml --block ELA": "",
    "insert base.pt --block ELA": "",
    "subset --coco coco -o subset": "",
    f"train model=yolo11n-ela.yaml data=data.yaml pretrained=base.pt {TINY}": "",
    f"val model={BEST} data=data.yaml imgsz=32 plots=False project=PROJECT": "",
    f"predict model={BEST} source=image.jpg imgsz=32 project=PROJECT": "",
    f"export model={BEST} format=torchscript imgsz=32": "",
    "bench --blocks SE --shape 1x8x4x4 --pass forward --against floor --device cpu --seconds 0.1 -o bench": "",
    "compare tiny.yaml tiny-ela.yaml --data data.yaml --seeds 0 --speed-seconds 0 -o compare epochs=1 imgsz=32": "",
    "report compare": "",
    "insert yolo11n.pt --block ELA": "yolo11n.pt",
    f"train model=yolo11n-ela.yaml data=data.yaml pretrained=yolo11n.pt {TINY}": "yolo11n.pt",
    f"train model=yolo11n-ela.yaml data=coco8.yaml {TINY}": "coco8",
    f"val model={BEST} data=coco8.yaml imgsz=32 project=PROJECT": "coco8",
    "val model=yolo11s.pt data=data.yaml": "yolo11s.pt",
    "predict model=yolo11s.pt source=image.jpg": "yolo11s.pt",
    f"predict model={BEST} source=https://ultralytics.com/images/zidane.jpg imgsz=32 project=PROJECT": "zidane.jpg",
    "predict model=https://example.org/some.pt source=image.jpg": "some.pt",
    "subset --coco nothing --download -o subset2": "cannot download",
    "compare tiny.yaml tiny-ela.yaml --data coco8.yaml -o compare2": "coco8",
    "compare tiny.yaml tiny-ela.yaml --data data.yaml --weights yolo11m.pt -o compare2": "yolo11m.pt",
}


def main(folder: str, block: bool) -> None:
    """Run the commands in a folder; write a JSON line for each to stdout."""
    if block:
        block_sockets()
    os.chdir(folder)
    from yolo_attn import cli

    for command in COMMANDS:
        words = command.replace("PROJECT", os.path.join(os.getcwd(), "runs")).split()
        said, began = io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                code = cli.main(words)
            except BaseException:
                code = traceback.format_exc()
        lines = [line for line in said.getvalue().splitlines() if line.startswith("yolo-attn: ")]
        found = {"command": command, "code": code, "said": lines, "seconds": time.perf_counter() - began}
        print(json.dumps(found), flush=True)


def block_sockets() -> None:
    """Make every connection outside the machine fail."""
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        raise OSError(101, "Network is unreachable")

    def unknown(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    socket.socket.connect, socket.getaddrinfo = refuse, unknown


if __name__ == "__main__":
    main(sys.argv[1], "--block" in sys.argv)
