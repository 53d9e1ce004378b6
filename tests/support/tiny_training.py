"""Train a few convolutions with attention on a small drawn set, within seconds."""

import csv
import json

import yaml
from ultralytics.utils import DEFAULT_CFG

import yolo_attn as ya
from yolo_attn.compare import host

# gradients wait for their step over the end of an epoch (nbs is three batches, an epoch is two), the warm-up ends with
# the first batch of the second, mosaics end before the third
RECIPE = {
    "epochs": 3, "imgsz": 64, "batch": 8, "nbs": 24, "warmup_epochs": 1, "close_mosaic": 1,
    "multi_scale": 0.5 if isinstance(DEFAULT_CFG.multi_scale, float) else True,  # a range, in early releases a switch
    "optimizer": "SGD", "plots": False, "device": "cpu", "amp": False, "verbose": False,
}  # fmt: skip


class StoppedError(Exception):
    """The training was stopped here."""


def tiny_yaml(folder, block="ELA", hyper=None):
    """Write the YAML of a tiny model with attention at three levels, once inside a host block."""
    attention = [-1, 1, block, [hyper or {}]]
    convs = [[-1, 1, "Conv", [8, 3, 2]] for _ in range(3)]
    inside = [-1, 1, f"C2f_{block}", [8, True, *([hyper] if hyper else [])]]
    rows = [*convs, attention, inside, [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]]]
    head = [[-1, 1, block, [hyper or {}]], [[4, 5, 7], 1, "Detect", ["nc"]]]
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({"nc": 80, "backbone": rows, "head": head}))
    return file


def train(scenes, folder, workers=0, callbacks=(), resume=False, **changes):
    """Train in ``folder``, or resume there; return the trainer, with its final weights as ``weights``."""
    model = ya.YOLO(folder / "run" / "weights" / "last.pt" if resume else tiny_yaml(folder))
    model.add_callback("on_pretrain_routine_start", lambda t: setattr(t.args, "workers", workers))  # the CPU has none
    for event, function in callbacks:
        model.add_callback(event, function)
    model.add_callback("on_train_end", lambda t: setattr(t, "weights", weights_of(t)))
    settings = {"resume": True} if resume else {**RECIPE, "data": str(scenes), "project": str(folder), "name": "run"}
    model.train(**{**settings, **changes})
    return model.trainer


def weights_of(trainer):
    both = {"model": trainer.model, "ema": trainer.ema.ema}
    return {f"{kind} {k}": v.clone() for kind, model in both.items() for k, v in model.state_dict().items()}


def results_of(folder):
    """Return the rows of ``results.csv`` without times."""
    with (folder / "run" / "results.csv").open() as lines:
        return [{k: v for k, v in row.items() if k != "time"} for row in csv.DictReader(lines)]


def outcome_of(folder):
    return json.loads((folder / "run" / "training.json").read_text())


def stop(epoch, error=StoppedError):
    """Return a callback that stops a training when it is called in an epoch, counted from 0."""

    def stopping(trainer):
        if trainer.epoch == epoch:
            raise error

    return stopping


# --- a run of a comparison --------------------------------------------------------------------------------------------
# four epochs with all that an epoch can hand to the next: gradients that wait for their step (nbs is three batches,
# an epoch is two), a warm-up over the boundary, mosaics that end before the last two epochs
RECIPE_OF_A_RUN = {
    "epochs": 4, "imgsz": 32, "batch": 8, "nbs": 24, "warmup_epochs": 2, "close_mosaic": 2, "amp": False,
    "optimizer": "SGD", "plots": False, "patience": 0, "device": "cpu",
}  # fmt: skip


def tiny_model(end2end):
    """A few convolutions, attention, and a head; ``end2end`` as in YOLO26, whose loss changes from epoch to epoch."""
    convs = [[-1, 1, "Conv", [8 * 2**k, 3, 2]] for k in range(5)]
    rows = [*convs, [-1, 1, "ELA", [{"init": "identity"}]]]
    extra = {"end2end": True, "reg_max": 1} if end2end else {}
    return {"nc": 80, **extra, "backbone": rows, "head": [[[2, 3, 5], 1, "Detect", ["nc"]]]}


def train_run(scenes, folder, end2end=False, seed=0, **changes):
    """Train in ``folder`` as a run of a comparison does, or finish the training that was begun there."""
    folder.mkdir(exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_model(end2end)))
    return host.train(file, str(scenes), None, seed, folder / "train", {**RECIPE_OF_A_RUN, **changes}, threads=1)
