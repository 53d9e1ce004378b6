"""Measure what the gate log and the stored state add to a training, in seconds of this process and in megabytes.

    python tools/measure_training.py model=yolo11n-ela.yaml data=mine.yaml imgsz=320 device=cpu workers=0

Takes what ``yolo-attn train`` takes; two epochs, mosaics on. Seconds are CPU time, which other processes do not add to.
"""

import functools
import sys
import time

import yolo_attn as ya
from yolo_attn.gates import log
from yolo_attn.train import resume
from yolo_attn.util.words import key_values

PARTS = {
    log.GateLog: ("_log_gates",),
    resume.Resumable: ("_begin_epoch", "_refill_mosaic_memory", "_store", "save_model"),
}
seconds: dict[str, list[float]] = {}


def timed(name, function):
    """Return a function that notes how long each of its calls takes."""

    @functools.wraps(function)
    def timing(*args, **kwargs):
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.setdefault(name, []).append(round(time.process_time() - began, 3))

    return timing


for owner, names in PARTS.items():
    for name in names:
        setattr(owner, name, timed(name, getattr(owner, name)))
settings = {"epochs": 2, "close_mosaic": 0, "plots": False, **key_values(sys.argv[1:])}
model, began, sizes = ya.YOLO(settings.pop("model")), [], {}
model.add_callback("on_train_epoch_start", lambda t: began.append(time.process_time()))
model.add_callback("on_fit_epoch_end", lambda t: began.append(time.process_time()))
model.add_callback("on_train_epoch_start", lambda t: sizes.update({f.name: f.stat().st_size for f in t.wdir.iterdir()}))
model.train(**settings)
print(
    "images:", len(model.trainer.train_loader.dataset), "trained,", len(model.trainer.test_loader.dataset), "validated"
)
print("an epoch:", [round(b - a, 2) for a, b in zip(began[:4:2], began[1:4:2], strict=True)])
print("of it:", seconds)
print("MB:", {name: round(size / 1e6, 1) for name, size in sizes.items()})
