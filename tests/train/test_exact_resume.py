"""``train`` that was stopped and resumed ends exactly where an undisturbed one does, and says so where it cannot."""

import signal
import subprocess
import sys

import pytest
import torch
from support.paths import TESTS
from support.tiny_training import StoppedError, outcome_of, results_of, stop, train

from yolo_attn.train import resume as resuming

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.tiny_training import train
def kill(trainer):
    if trainer.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
train(sys.argv[2], Path(sys.argv[3]), workers=int(sys.argv[4]), callbacks=[(sys.argv[5], kill)])
"""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def undisturbed(scenes, tmp_path_factory):
    """An undisturbed training by number of workers: its folder and its trainer."""
    made = {}

    def get(workers):
        if workers not in made:
            folder = tmp_path_factory.mktemp(f"undisturbed {workers}")
            made[workers] = folder, train(scenes, folder, workers)
        return made[workers]

    return get


@pytest.fixture
def said(monkeypatch):
    """What is logged about resuming."""
    lines = []
    monkeypatch.setattr(resuming._LOG, "warning", lines.append)
    monkeypatch.setattr(resuming._LOG, "info", lambda line, *_: lines.append(str(line)))
    return lines


def check_same(folder, trainer, undisturbed):
    wanted_folder, wanted = undisturbed
    assert [k for k, v in wanted.weights.items() if not torch.equal(v, trainer.weights[k])] == []
    assert wanted.weights.keys() == trainer.weights.keys()
    assert trainer.ema.updates == wanted.ema.updates
    assert results_of(folder) == results_of(wanted_folder)
    assert len(results_of(folder)) == 3
    assert (folder / "run" / "gates.csv").read_text() == (wanted_folder / "run" / "gates.csv").read_text()
    best, wanted_best = (torch.load(t.best, weights_only=False)["model"].state_dict() for t in (trainer, wanted))
    assert all(torch.equal(v, best[k]) for k, v in wanted_best.items())


def left_over(folder):
    return [p.name for p in (folder / "run").rglob("*") if p.name == resuming.STATE or p.name.endswith(".part")]


@pytest.mark.parametrize(
    ("event", "workers"),
    [("on_train_batch_end", 0), ("on_model_save", 0), ("on_train_batch_end", 2)],
)
def test_stopped_by_an_exception(event, workers, scenes, undisturbed, tmp_path, said):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, workers, callbacks=[(event, stop(epoch=1))])
    assert outcome_of(tmp_path)["status"] == "failed"
    resumed = train(scenes, tmp_path, workers, resume=True)
    check_same(tmp_path, resumed, undisturbed(workers))
    assert f"resumed from {resuming.STATE}: as after epoch 1, to the bit" in said
    assert left_over(tmp_path) == []
    assert outcome_of(tmp_path)["status"] == "complete"
    assert outcome_of(tmp_path)["resumed"] == 1


@pytest.mark.parametrize(("event", "workers"), [("on_train_batch_end", 0), ("on_model_save", 2)])
def test_killed(event, workers, scenes, undisturbed, tmp_path):
    words = [str(TESTS), str(scenes), str(tmp_path), str(workers), event]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert outcome_of(tmp_path)["status"] == "begun"
    (tmp_path / "run" / "weights" / ".state.pt.1.part").write_bytes(b"half")  # as where it was killed while it wrote
    check_same(tmp_path, train(scenes, tmp_path, workers, resume=True), undisturbed(workers))
    assert left_over(tmp_path) == []


def test_stopped_twice(scenes, undisturbed, tmp_path):
    for epoch, resume in ((1, False), (2, True)):
        with pytest.raises(StoppedError):
            train(scenes, tmp_path, resume=resume, callbacks=[("on_train_batch_end", stop(epoch))])
    check_same(tmp_path, train(scenes, tmp_path, resume=True), undisturbed(0))
    assert outcome_of(tmp_path)["resumed"] == 2


def test_an_optimizer_that_the_host_chose(scenes, tmp_path):
    """It is built from other arguments when resumed: the host writes down what it chose, but not all of it."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    wanted = train(scenes, whole, optimizer="auto")
    with pytest.raises(StoppedError):
        train(scenes, stopped, optimizer="auto", callbacks=[("on_train_batch_end", stop(epoch=1))])
    check_same(stopped, train(scenes, stopped, resume=True), (whole, wanted))


def spoil_by_removing(state):
    state.unlink()


def spoil_by_another_training(state):
    torch.save({**torch.load(state, weights_only=False), "run": ("elsewhere", 0)}, state)


def spoil_by_other_weights(state):
    stored = torch.load(state, weights_only=False)
    next(iter(stored["ema"].values())).add_(1)
    torch.save(stored, state)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_by_removing, "there is no state.pt beside it"),
        (spoil_by_another_training, "state.pt is of another training"),
        (spoil_by_other_weights, "state.pt holds other weights"),
    ],
)
def test_without_its_state_the_host_resumes_and_that_is_said(spoil, reason, scenes, undisturbed, tmp_path, said):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", stop(epoch=1))])
    spoil(tmp_path / "run" / "weights" / resuming.STATE)
    resumed = train(scenes, tmp_path, resume=True)
    assert len(results_of(tmp_path)) == 3
    assert any(not torch.equal(v, resumed.weights[k]) for k, v in undisturbed(0)[1].weights.items())
    assert [line for line in said if "as Ultralytics does" in line and reason in line]


def test_what_cannot_be_exact_is_left_to_the_host(scenes, tmp_path, said):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", stop(epoch=1))], time=1.0)
    assert left_over(tmp_path) == []
    train(scenes, tmp_path, resume=True, callbacks=[("on_fit_epoch_end", lambda t: setattr(t, "stop", True))])
    assert [line for line in said if "time= is set" in line]


def test_changed_arguments_are_named(scenes, tmp_path, said):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", stop(epoch=1))])
    train(scenes, tmp_path, resume=True, batch=4)
    assert [line for line in said if line.startswith("batch changed")]


def test_a_new_training_in_the_same_folder_forgets_the_old_one(scenes, tmp_path):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", stop(epoch=1))])
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, exist_ok=True, callbacks=[("on_train_batch_end", stop(epoch=0))])
    assert left_over(tmp_path) == []
