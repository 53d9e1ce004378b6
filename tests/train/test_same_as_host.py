"""A training draws the random numbers that Ultralytics draws: losses and weights are the same, step for step."""

import pytest
import torch
import ultralytics
from support.tiny_training import RECIPE

import yolo_attn as ya

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def trained(cls, model, scenes, folder, workers):
    """Train with a class; return losses of every batch, and the trainer."""
    seen = []
    made = cls(model)
    made.add_callback("on_pretrain_routine_start", lambda t: setattr(t.args, "workers", workers))
    made.add_callback("on_train_batch_end", lambda t: seen.append(float(t.loss)))
    made.train(**RECIPE, data=str(scenes), project=str(folder), name="run", workers=workers)
    return seen, made.trainer


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("attention", [False, True])
def test_every_loss_is_that_of_the_host(attention, workers, scenes, tiny_models, tmp_path):
    model = tiny_models[attention]
    theirs, host = trained(ultralytics.YOLO, model, scenes, tmp_path / "host", workers)
    ours, trainer = trained(ya.YOLO, model, scenes, tmp_path / "ours", workers)
    assert trainer.train_loader.num_workers == host.train_loader.num_workers == workers
    assert ours == theirs
    weights = trainer.ema.ema.state_dict()
    assert [k for k, v in host.ema.ema.state_dict().items() if not torch.equal(v, weights[k])] == []
