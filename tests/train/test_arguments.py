"""Every argument of a training may have each form that Ultralytics takes: a number, a list, a path, nothing."""

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from ultralytics.cfg import get_cfg
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.torch_utils import EarlyStopping

from yolo_attn.train import resume
from yolo_attn.train.trainer import TrainerMixin

FORMS = {
    "imgsz": [64, [32, 64], (64, 32), "64", "[32,64]"],
    "batch": [16, -1, 0.5],
    "device": ["cpu", "0", [0, 1], "0,1", -1, [-1, -1], None],
    "classes": [None, 0, [0, 2], (0, 2), np.array([0, 2])],
    "freeze": [None, 3, [0, 1], ["4.cv1", "model.0"], (0, 1), []],
    "data": ["a.yaml", Path("a.yaml"), ["a.yaml", "b.yaml"]],
    "cache": [False, True, "ram", "disk"],
    "fraction": [1.0, 0.5, 20, [0.5, 1.0]],
    "scale": [0.5, (0.5, 2.0), [0.5, 2.0]],
    "pretrained": [True, False, "a.pt", Path("a.pt"), None],
    "resume": [False, True, "last.pt", Path("last.pt")],
    "project": [None, "p", Path("p")],
    "name": [None, "n", Path("n")],
    "patience": [0, 5],
    "time": [None, 0.5, 1],
    "multi_scale": [0.0, 0.5] if isinstance(DEFAULT_CFG_DICT["multi_scale"], float) else [True, False],
    "save_period": [-1, 1],
    "close_mosaic": [0, 10, 1000],
    "workers": [0, 4],
    "seed": [0, 2**31, -1],
    "optimizer": ["auto", "SGD"],
    "amp": [True, False, "fp16", "bf16", "fp32"],
    "quantize": [None, 8, "int8"],
    "compile": [False, True, "reduce-overhead"],
    "channels_last": [None, True, False],
    "embed": [None, [1, 2]],
    "source": [None, "a.jpg", ["a.jpg", "b.jpg"]],
    "auto_augment": ["randaugment", None],
    "augmentations": [None, [{"transform": {"p": 0.5, "blur_limit": (3, 7)}}], [{"transform": {"kernel": np.eye(3)}}]],
    "distill_model": [None, "teacher.pt", Path("teacher.pt")],
    "cls_pw": [0.0, 1, 0.5],
}
CASES = [
    (name, value) for name, values in FORMS.items() if name in DEFAULT_CFG_DICT or name == "augmentations"
    for value in values
]  # fmt: skip


class Host:
    """A trainer of Ultralytics as parts of this package see it, without its training."""

    def __init__(self, folder, **overrides):
        try:
            self.args = get_cfg(overrides=overrides)
        except (TypeError, ValueError):
            pytest.skip("this Ultralytics does not take it")
        self.args.save_dir, self.device, self.batch_size = str(folder), torch.device("cpu"), 16
        self.callbacks, self.save_dir, self.wdir = defaultdict(list), folder, folder / "weights"
        self.wdir.mkdir(parents=True, exist_ok=True)
        self.last, self.best, self.csv = self.wdir / "last.pt", self.wdir / "best.pt", folder / "results.csv"
        self.epoch, self.epochs, self.start_epoch, self.stop, self.resume = 0, 3, 0, False, False
        self.model = nn.Sequential(nn.Linear(1, 1))
        self.best_fitness, self.loss = None, torch.zeros(())

    def _setup_train(self):
        self.args.imgsz = check_imgsz(self.args.imgsz, stride=32, floor=32, max_dim=1)
        self.optimizer = torch.optim.SGD(self.model.parameters())
        self.scaler, self.stopper = torch.amp.GradScaler("cpu", enabled=False), EarlyStopping(self.args.patience)
        self.ema = SimpleNamespace(ema=self.model, updates=0)
        self._build_train_pipeline()

    def _build_train_pipeline(self):
        self.train_loader = self.test_loader = DataLoader(TensorDataset(torch.zeros(4, 1)), batch_size=2)

    def _handle_nan_recovery(self, epoch):
        return False

    def _model_train(self):
        self.model.train()

    def add_callback(self, event, function):
        self.callbacks[event].append(function)


class Trainer(TrainerMixin, Host):
    def __init__(self, *args, **overrides):  # the host's folder is not claimed
        Host.__init__(self, *args, **overrides)


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda v: str(v).replace("\n", " ")[:40])
def test_an_argument_may_have_every_form(name, value, tmp_path):
    """The training is set up, recorded, and what is stored of it can be compared when it is resumed."""
    trainer = Trainer(tmp_path, **{name: value})
    trainer.setup_training()
    assert trainer.history["imgsz"] == 64 if name == "imgsz" else 640
    trainer.set_training_mode()
    assert not trainer.recover_from_nan(0)
    resume.write_torch(tmp_path / "state.pt", trainer._state())
    stored = torch.load(tmp_path / "state.pt", weights_only=False)["arguments"]
    changed = [key for key, given in stored.items() if resume._differ(vars(trainer.args).get(key, given), given)]
    assert changed == []
    trainer._complete()
    assert json.loads((tmp_path / "training.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(
    ("one", "other"),
    [(16, 8), ([0], [1]), ("SGD", "Adam"), (None, 1), (np.array([0, 1]), np.array([0, 2])), (np.array([0]), None)],
    ids=str,
)
def test_arguments_that_differ_are_seen(one, other):
    assert resume._differ(one, other)
    assert resume._differ(other, one)
    assert not resume._differ(one, one)
