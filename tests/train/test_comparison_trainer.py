"""Runs of a comparison: they end as undisturbed ones, and all models of a seed see the same batches."""

import random

import numpy as np
import pytest
import torch
import yaml
from support.tiny_training import (
    RECIPE,
    RECIPE_OF_A_RUN,
    tiny_model,
    train_run,
)

from yolo_attn.compare import host, trainer
from yolo_attn.host.data import check_data
from yolo_attn.train import resume as resuming

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def complete(scenes, tmp_path_factory):
    return train_run(scenes, tmp_path_factory.mktemp("complete") / "run")


@pytest.mark.slow
def test_a_complete_training_is_not_trained_again(scenes, complete):
    wanted = complete
    before = wanted.last.read_bytes()
    again = train_run(scenes, wanted.last.parents[2])
    assert again == wanted
    assert again.last.read_bytes() == before


@pytest.mark.slow
def test_the_steps_are_those_of_the_host(scenes, tmp_path, monkeypatch):
    """Weights step when the host alone would step: as often, and after the same batches."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    seen, steps = [], []
    step, preprocess = DetectionTrainer.optimizer_step, DetectionTrainer.preprocess_batch
    monkeypatch.setattr(DetectionTrainer, "optimizer_step", lambda self: (steps.append(len(seen)), step(self)))
    monkeypatch.setattr(DetectionTrainer, "preprocess_batch", lambda s, b: (seen.append(1), preprocess(s, b))[1])
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_model(end2end=False)))
    overrides = {
        **RECIPE_OF_A_RUN,
        "epochs": 5,
        "model": str(file),
        "data": str(scenes),
        "project": str(tmp_path),
        "val": False,
    }
    DetectionTrainer(overrides={**overrides, "name": "host"}).train()
    of_host = steps.copy()
    seen.clear()
    steps.clear()
    train_run(scenes, tmp_path / "run", epochs=5)
    assert steps == of_host
    assert 2 < len(steps) < 10  # neither at every batch nor never


@pytest.mark.slow
def test_seeds_change_what_is_seen_and_arms_do_not(scenes, complete, tmp_path):
    base = complete.history["first_batches"]
    assert len(base) == 64
    assert train_run(scenes, tmp_path / "b", end2end=True, epochs=3).history["first_batches"] == base
    assert train_run(scenes, tmp_path / "c", epochs=3, seed=1).history["first_batches"] != base


def test_seed_and_epoch_reach_the_workers_of_the_loader(scenes):
    """On the CPU the host uses no workers, so its loader is asked directly, with two."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_dataloader, build_yolo_dataset

    data = check_data(str(scenes))
    dataset = build_yolo_dataset(get_cfg(), data["train"], 4, data, mode="train", stride=32)
    trainer = type("Trainer", (resuming.ResumeMixin,), {})()
    trainer.args = type("Args", (), {"seed": 0, "mosaic": 1.0, "close_mosaic": 1})
    trainer.epochs, trainer._gradients, trainer.model = 5, {}, torch.nn.Identity()
    trainer.train_loader = build_dataloader(dataset, 4, workers=2, shuffle=True, rank=-1)

    def first_batch(seed, epoch):
        trainer.args.seed, trainer.epoch = seed, epoch
        trainer._begin_epoch()
        batch = next(iter(trainer.train_loader))
        return batch["im_file"], batch["img"].numpy()

    files, pixels = first_batch(0, 0)
    for seed, epoch, same in ((0, 0, True), (0, 1, False), (1, 0, False)):
        other_files, other_pixels = first_batch(seed, epoch)
        assert (other_files == files) is same, (seed, epoch)
        assert np.array_equal(other_pixels, pixels) is same, (seed, epoch)
    trainer.train_loader.close()


def draw_beside(monkeypatch):
    """Have the model draw random numbers of all kinds in each step, as one with stochastic depth does."""
    from ultralytics.nn.tasks import DetectionModel

    loss = DetectionModel.loss

    def drawing(self, *args):
        random.random(), np.random.rand(), torch.rand(1)
        return loss(self, *args)

    monkeypatch.setattr(DetectionModel, "loss", drawing)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["main process", "two workers"])
def test_all_batches_are_the_same_whatever_a_model_draws(workers, scenes, tmp_path, request, monkeypatch):
    if workers == "two workers":
        request.getfixturevalue("with_workers")
    monkeypatch.setattr(trainer, "HASHED_BATCHES", 1000)
    plain = train_run(scenes, tmp_path / "plain", multi_scale=RECIPE["multi_scale"]).history["first_batches"]
    draw_beside(monkeypatch)
    drawing = train_run(scenes, tmp_path / "drawing", multi_scale=RECIPE["multi_scale"], end2end=True)
    assert drawing.history["first_batches"] == plain


@pytest.mark.slow
def test_half_the_batch_for_want_of_memory_is_no_result(scenes, tmp_path, monkeypatch):
    """Halving the batch, as Ultralytics does out of memory, fails here, and the next start begins from epoch 1."""
    from ultralytics.nn.tasks import DetectionModel

    def too_small(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(DetectionModel, "loss", too_small)
        with pytest.raises(host.YoloAttnError, match="out of memory: Ultralytics would continue with batch=4"):
            train_run(scenes, tmp_path / "run")
    assert len(train_run(scenes, tmp_path / "run").epochs) == 4


@pytest.mark.slow
def test_an_early_stop_is_an_end(scenes, tmp_path, monkeypatch):
    from ultralytics.utils.torch_utils import EarlyStopping

    with monkeypatch.context() as patch:
        patch.setattr(EarlyStopping, "__call__", lambda self, epoch, fitness: epoch == 2)
        stopped = train_run(scenes, tmp_path / "run", patience=1)
    assert len(stopped.epochs) == 2
    assert train_run(scenes, tmp_path / "run", patience=1) == stopped
