"""Open, predict and train in eight threads at once, from the first use in a process on.

``python -m support.threads_at_once make`` writes models into the working directory and what they predict there, one
after the other. ``run ROUNDS`` uses them in threads and prints what failed, as JSON. ``plain ROUNDS`` does what of it
needs Ultralytics alone, without importing this package.
"""

# ruff: noqa: E402

import json
import random
import sys
import threading
import traceback
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn

MODE = sys.argv[1]
if MODE != "plain":
    import yolo_attn as ya

import ultralytics
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

THREADS = 8
CONVS = [[-1, 1, "Conv", [8, 3, 2]] for _ in range(3)]
PLAIN = {"nc": 2, "backbone": [*CONVS, [-1, 1, "C2f", [8, True]]], "head": [[[1, 2, 4], 1, "Detect", ["nc"]]]}
PLAIN["head"].insert(0, [-1, 1, "Conv", [8, 3, 2]])
ATTENTION = {**PLAIN, "backbone": [*CONVS, [-1, 1, "C2f_ELA", [8, True]]]}
ATTENTION["head"] = [[-1, 1, "CBAM", [4]], [-1, 1, "Conv", [8, 3, 2]], [[1, 2, 5], 1, "Detect", ["nc"]]]
FILES = {"plain": PLAIN, "attention": ATTENTION}
IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
REPLACED = ("SAFE_LOAD", "parse_model", "yaml_model_load", "Conv", "DetectionModel")


class Stranger(nn.Module):
    """A class that a restricted load does not know."""


def classes(*openers):
    """Return what opens each file: Ultralytics' class and ours; a stranger's file is opened by both."""
    names = [*FILES, "strange plain", "strange attention"]
    return [
        (opener, f"{name}.pt") for opener in openers for name in names if "attention" not in name or MODE != "plain"
    ]


def predict(opener, file):
    model = opener(file)
    boxes = model.predict(IMAGE, imgsz=64, conf=0.001, device="cpu", verbose=False)[0].boxes.data
    return boxes.clone(), model.model.float().eval()(torch.ones(1, 3, 64, 64))[0]


def make():
    for name, model in FILES.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(model))
        torch.manual_seed(1)
        made = tasks.DetectionModel(dict(model), verbose=False)
        torch.save({"model": made, "train_args": {}}, f"{name}.pt")
        made.stranger = Stranger()
        torch.save({"model": made, "train_args": {}}, f"strange {name}.pt")
    folder = Path("data/images")
    folder.mkdir(parents=True)
    Path("data/labels").mkdir()
    import cv2

    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), IMAGE)
        Path(f"data/labels/{i}.txt").write_text("0 0.5 0.5 0.4 0.4\n1 0.3 0.3 0.2 0.2\n")
    data = {"path": str(Path("data").resolve()), "train": "images", "val": "images", "names": ["a", "b"]}
    Path("data.yaml").write_text(yaml.safe_dump(data))
    torch.save({file: predict(opener, file) for opener, file in classes(ultralytics.YOLO)}, "expected")


def train(opener, name, folder):
    model = opener(f"{name}.yaml")
    settings = {"epochs": 1, "imgsz": 32, "batch": 4, "workers": 0, "plots": False, "device": "cpu", "amp": False}
    model.train(
        data="data.yaml", project=str(Path(folder).resolve()), name="run", exist_ok=True, verbose=False, **settings
    )
    return type(model.trainer)


def run(rounds):
    expected = torch.load("expected", weights_only=True)
    before = {name: getattr(tasks, name) for name in REPLACED}
    activation, failed, kinds, lock = tasks.Conv.default_act, [], {}, threading.Lock()
    together = threading.Barrier(THREADS)
    ours = [ultralytics.YOLO] if MODE == "plain" else [ultralytics.YOLO, ya.YOLO]
    done = {"predictions": 0, "trainings": 0}

    def work(number):
        drawn = random.Random()
        for turn in range(rounds):
            jobs = classes(*ours)
            drawn.shuffle(jobs)
            together.wait()
            for opener, file in jobs:
                one(number, f"{opener.__module__} opens {file}", check, opener, file)
            if number < len(ours) and turn == 0:
                name = "attention" if number else "plain"
                one(number, f"{ours[number].__module__} trains", trains, ours[number], name, f"run {number}")

    def check(opener, file):
        boxes, raw = predict(opener, file)
        assert torch.equal(raw, expected[file][1]), f"raw {(raw - expected[file][1]).abs().max()}"
        assert torch.equal(boxes, expected[file][0]), "boxes"
        with lock:
            done["predictions"] += 1

    def trains(opener, name, folder):
        made = train(opener, name, folder)
        with lock:
            kinds.setdefault(f"{made.__module__}.{made.__qualname__}", set()).add(made)
            done["trainings"] += 1

    def one(number, what, function, *args):
        try:
            function(*args)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            with lock:
                failed.append(f"thread {number}, {what}: {type(error).__name__}: {str(error)[:200]} ({where})")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changed = [name for name, held in before.items() if getattr(tasks, name) is not held]
    changed += ["default_act"] if tasks.Conv.default_act is not activation else []
    changed += [name for name, made in kinds.items() if len(made) > 1]
    return {"failed": failed, "changed": changed, **done}


if __name__ == "__main__":
    sys.modules["support.threads_at_once"] = sys.modules["__main__"]
    Stranger.__module__ = "support.threads_at_once"
    LOGGER.setLevel("ERROR")
    torch.set_num_threads(1)
    print(json.dumps(make() if MODE == "make" else run(int(sys.argv[2]))))
