"""A run of a comparison whose stored state is damaged starts again, says so, and ends as an undisturbed one."""

import logging
import shutil

import pytest
import torch
from support.tiny_training import StoppedError, train_run

from yolo_attn.compare import trainer
from yolo_attn.errors import YoloAttnError
from yolo_attn.train.resume import STATE, read_state

pytestmark = pytest.mark.usefixtures("one_thread")


def cut(weights):
    (weights / STATE).write_bytes((weights / STATE).read_bytes()[:-100])


def empty(weights):
    (weights / STATE).write_bytes(b"")


def change(weights):
    """Change one bit of a weight, which torch loads without a word."""
    content = bytearray((weights / STATE).read_bytes())
    content[len(content) // 2] ^= 0x40
    (weights / STATE).write_bytes(content)
    torch.load(weights / STATE, weights_only=False)


def exchange_kind(weights):
    shutil.copy(weights / "last.pt", weights / STATE)


def exchange_run(weights):
    state = torch.load(weights / STATE, weights_only=False)
    torch.save({**state, "run": ("/elsewhere/yolo11n-seed1-0123456789/train", 1)}, weights / STATE)


def cut_checkpoint(weights):
    (weights / "last.pt").write_bytes((weights / "last.pt").read_bytes()[:-100])


def remove_checkpoint(weights):
    (weights / "last.pt").unlink()


OF_THE_STATE = {
    cut: "is damaged", empty: "is damaged", change: "is damaged", exchange_kind: "holds no state of a training",
    exchange_run: "is that of yolo11n-seed1-0123456789",
}  # fmt: skip
OF_THE_CHECKPOINT = {cut_checkpoint: "last.pt' is damaged", remove_checkpoint: "last.pt' is missing"}


@pytest.fixture(scope="module")
def stopped(scenes, tmp_path_factory):
    """Folder of a run that was stopped after its second epoch."""
    folder, store = tmp_path_factory.mktemp("stopped") / "run", trainer.ComparisonMixin._store

    def store_and_stop(self):
        store(self)
        if self.epoch == 1:
            raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.ComparisonMixin, "_store", store_and_stop)
        with pytest.raises(StoppedError):
            train_run(scenes, folder)
    return folder


@pytest.fixture(scope="module")
def complete(scenes, tmp_path_factory):
    """An undisturbed run, whose process ended before its result was written."""
    return train_run(scenes, tmp_path_factory.mktemp("complete") / "run")


def weights_of(checkpoint):
    model = torch.load(checkpoint, weights_only=False)
    return (model["ema"] or model["model"]).state_dict()


def check_starts_again(folder, reason, scenes, complete, caplog):
    with caplog.at_level(logging.WARNING, "ultralytics"):
        again = train_run(scenes, folder)
    (said,) = [r.getMessage() for r in caplog.records if "the training starts again" in r.getMessage()]
    assert reason in said
    assert again.history["resumed"] == 0
    assert len(again.epochs) == 4
    wanted = weights_of(complete.last)
    assert all(torch.equal(wanted[name], values) for name, values in weights_of(again.last).items())


@pytest.mark.slow
@pytest.mark.parametrize("damage", OF_THE_STATE)
def test_a_stopped_run_with_a_damaged_state_starts_again(damage, stopped, scenes, complete, tmp_path, caplog):
    folder = shutil.copytree(stopped, tmp_path / "run")
    damage(folder / "train" / "weights")
    check_starts_again(folder, OF_THE_STATE[damage], scenes, complete, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [*OF_THE_CHECKPOINT, change])
def test_a_trained_run_with_a_damaged_file_starts_again(damage, scenes, complete, tmp_path, caplog):
    folder = shutil.copytree(complete.last.parents[2], tmp_path / "run")
    damage(folder / "train" / "weights")
    reason = {**OF_THE_STATE, **OF_THE_CHECKPOINT}[damage]
    check_starts_again(folder, reason, scenes, complete, caplog)


@pytest.mark.slow
def test_an_undamaged_state_of_a_moved_comparison_is_resumed(stopped, scenes, complete, tmp_path):
    resumed = train_run(scenes, shutil.copytree(stopped, tmp_path / "run"))
    assert resumed.history["resumed"] == 1
    wanted = weights_of(complete.last)
    assert all(torch.equal(wanted[name], values) for name, values in weights_of(resumed.last).items())


def test_what_cannot_be_a_state_is_refused(tmp_path):
    assert read_state(tmp_path) is None
    for content in ([1, 2], {"epoch": 1}, "text", None):
        torch.save(content, tmp_path / STATE)
        with pytest.raises(YoloAttnError, match=r"state.pt' holds no state of a training"):
            read_state(tmp_path)
    torch.save(torch.arange(1000), tmp_path / STATE)
    change(tmp_path)
    with pytest.raises(YoloAttnError, match=r"state.pt' is damaged"):
        read_state(tmp_path)
