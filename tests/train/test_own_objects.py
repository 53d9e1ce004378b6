"""An object that a user's callback puts in the place of a trainer's trains as with Ultralytics."""

import csv

import pytest
import torch
from support.tiny_training import StoppedError, outcome_of, stop, train
from torch.utils.data import DataLoader, Subset
from ultralytics.utils.torch_utils import EarlyStopping

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def own_loader(trainer):
    """Put a plain loader of other images in place; it has neither a generator nor ``reset``."""
    dataset = trainer.train_loader.dataset
    trainer.train_loader = DataLoader(Subset(dataset, range(12)), 4, shuffle=True, collate_fn=dataset.collate_fn)


def own_loaders(trainer):
    own_loader(trainer)
    dataset = trainer.test_loader.dataset
    trainer.test_loader = DataLoader(dataset, 2, collate_fn=dataset.collate_fn)


class Stopper(EarlyStopping):
    """A stopper that holds what cannot be pickled."""

    def __init__(self):
        super().__init__()
        self.log = lambda text: text


def own_optimizer(trainer):
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.01)
    for group in trainer.optimizer.param_groups:
        group["initial_lr"] = 0.01
    trainer.scheduler = torch.optim.lr_scheduler.ConstantLR(trainer.optimizer)
    trainer.stopper = Stopper()


def read_accumulate(trainer):
    assert trainer.accumulate > 0


def unpicklable_arguments(trainer):
    trainer.args.mine = lambda: None


def own_places(trainer):
    elsewhere = trainer.save_dir / "elsewhere"
    elsewhere.mkdir()
    trainer.last, trainer.best = elsewhere / "newest.pt", elsewhere / "finest.pt"


@pytest.mark.parametrize(
    ("event", "function"),
    [
        ("on_train_start", own_loaders),
        ("on_train_start", own_optimizer),
        ("on_train_batch_start", read_accumulate),
        ("on_train_batch_end", read_accumulate),
        ("on_train_start", own_places),
    ],
)
def test_it_trains(event, function, scenes, tmp_path):
    trainer = train(scenes, tmp_path, close_mosaic=0, callbacks=[(event, function)])
    assert outcome_of(tmp_path)["status"] == "complete"
    assert trainer.best.is_file()
    assert trainer.last.is_file()
    if function is own_places:
        assert not list((tmp_path / "run" / "weights").iterdir())


def test_callbacks_that_were_added_late_see_the_batches_per_step(scenes, tmp_path):
    late = ("on_train_start", lambda trainer: trainer.add_callback("on_train_batch_start", read_accumulate))
    train(scenes, tmp_path, callbacks=[late])


def test_a_training_with_a_loader_of_ones_own_is_resumed_exactly(scenes, tmp_path):
    ended = {}
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    start = ("on_train_start", own_loader)
    ended["whole"] = train(scenes, tmp_path / "whole", close_mosaic=0, callbacks=[start])
    with pytest.raises(StoppedError):
        train(scenes, tmp_path / "stopped", close_mosaic=0, callbacks=[start, ("on_train_batch_end", stop(epoch=1))])
    resumed = train(scenes, tmp_path / "stopped", resume=True, callbacks=[start])
    assert [k for k, v in ended["whole"].weights.items() if not torch.equal(v, resumed.weights[k])] == []


@pytest.mark.parametrize("size", ["[32, 64]", "(64, 32), rect"])
def test_an_image_size_of_two_numbers(size, scenes, tmp_path):
    changes = {"imgsz": [32, 64]} if size.startswith("[") else {"imgsz": (64, 32), "rect": True}
    trainer = train(scenes, tmp_path, epochs=1, **changes)
    assert trainer.args.imgsz == trainer.history["imgsz"] == 64


def test_a_distilled_model_has_its_gates_logged(scenes, tmp_path, tiny_models):
    from ultralytics import YOLO

    teacher = YOLO(tiny_models[0])
    torch.save({"model": teacher.model, "train_args": {}}, tmp_path / "teacher.pt")
    train(scenes, tmp_path, epochs=1, distill_model=str(tmp_path / "teacher.pt"))
    with (tmp_path / "run" / "gates.csv").open() as lines:
        assert {row["epoch"] for row in csv.DictReader(lines)} == {"0", "1"}
    assert outcome_of(tmp_path)["status"] == "complete"


def test_values_that_were_infinite_before_are_no_loss_that_is_not_finite(scenes, tmp_path):
    def add_mask(trainer):
        trainer.model.register_parameter("mask", torch.nn.Parameter(torch.tensor([float("-inf")]), requires_grad=False))

    train(scenes, tmp_path, epochs=1, callbacks=[("on_train_start", add_mask)])
    assert outcome_of(tmp_path)["status"] == "complete"
