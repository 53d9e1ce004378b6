"""A resumed training ends with exactly the weights of an uninterrupted one, or warns that it cannot.

By either way to train: ``train`` on the command line, which resumes where it is told to, and a run of a comparison,
which resumes by itself.
"""

import contextlib
import signal
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from support.paths import TESTS
from support.tiers import sampled
from support.tiny_training import (
    StoppedError,
    outcome_of,
    results_of,
    stop,
    train,
    train_run,
)

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

pytestmark = pytest.mark.usefixtures("one_thread")


class Ended(NamedTuple):
    """Weights and records of a finished training, to be compared with those of another."""

    weights: dict[str, torch.Tensor]
    rest: dict[str, object]


def by_train(scenes, folder, resume=False, workers=0, callbacks=(), **changes):
    trainer = train(scenes, folder, workers, callbacks, resume, **changes)
    assert left_over(folder) == []
    assert outcome_of(folder)["status"] == "complete"
    best = torch.load(trainer.best, weights_only=False)["model"].state_dict()
    gates = (folder / "run" / "gates.csv").read_text()
    return Ended(
        {**trainer.weights, **{f"best {k}": v for k, v in best.items()}},
        {"epochs": results_of(folder), "gates": gates, "updates": trainer.ema.updates},
    )


def by_comparison(scenes, folder, resume=False, end2end=False, callbacks=()):
    trained = train_run(scenes, folder / "run", end2end)
    state = resuming.read_state(trained.last.parent)  # a checkpoint would hold them in half precision
    assert trained.history["resumed"] == int(resume)
    epochs = [{k: v for k, v in row.items() if k != "time"} for row in trained.epochs]
    return Ended(
        {f"{kind}.{name}": value for kind in ("model", "ema") for name, value in state[kind].items()},
        {"epochs": epochs, "first_batches": trained.history["first_batches"]},
    )


EPOCHS = {by_train: 3, by_comparison: 4}


def left_over(folder):
    return [p.name for p in (folder / "run").rglob("*") if p.name == resuming.STATE or p.name.endswith(".part")]


@pytest.fixture(scope="module")
def undisturbed(scenes, tmp_path_factory):
    """Return the result of an uninterrupted training, by the way to train and its options."""
    made = {}

    def get(way, **options):
        key = way, *options.items()
        if key not in made:
            made[key] = way(scenes, tmp_path_factory.mktemp("undisturbed"), **options)
        return made[key]

    return get


@pytest.fixture
def said(monkeypatch):
    """Collect the log lines about resuming."""
    lines = []
    monkeypatch.setattr(resuming._LOG, "warning", lines.append)
    monkeypatch.setattr(resuming._LOG, "info", lambda line, *_: lines.append(str(line)))
    return lines


def check_same(ended, wanted, epochs=3):
    assert ended.weights.keys() == wanted.weights.keys()
    assert [k for k, v in wanted.weights.items() if not torch.equal(v, ended.weights[k])] == []
    assert ended.rest == wanted.rest
    assert len(ended.rest["epochs"]) == epochs


@contextlib.contextmanager
def dying(hook, epoch, before):
    """Return a context in which a training dies at a hook of an epoch, before or after what the hook does."""
    original = getattr(resuming.ResumeMixin, hook)

    def run(self, *args):
        if before and self.epoch == epoch:
            raise StoppedError
        done = original(self, *args)
        if self.epoch == epoch:
            raise StoppedError
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming.ResumeMixin, hook, run)
        yield


HOOKS = [*(("_store", epoch, False) for epoch in (0, 1, 2)), ("_store", 3, True), ("optimizer_step", 1, False)]
CASES = {
    **{
        f"train, {event}, {workers} workers": (by_train, {"workers": workers}, event)
        for event, workers in [("on_train_batch_end", 0), ("on_model_save", 0), ("on_train_batch_end", 2)]
    },
    **{
        f"comparison, {hook[0]}, epoch {hook[1]}{', end2end' * end2end}": (by_comparison, {"end2end": end2end}, hook)
        for end2end in (False, True)
        for hook in HOOKS
    },
}


@pytest.mark.parametrize("case", sampled(CASES, ["comparison, optimizer_step, epoch 1"], "slow"))
def test_a_stopped_training_ends_as_an_undisturbed_one(case, scenes, undisturbed, tmp_path, said):
    way, options, moment = CASES[case]
    at_a_callback = isinstance(moment, str)
    with contextlib.nullcontext() if at_a_callback else dying(*moment), pytest.raises(StoppedError):
        way(scenes, tmp_path, **options, callbacks=[(moment, stop(epoch=1))] if at_a_callback else ())
    if way is by_train:
        assert outcome_of(tmp_path)["status"] == "failed"
    check_same(way(scenes, tmp_path, resume=True, **options), undisturbed(way, **options), EPOCHS[way])
    if way is by_train:
        assert f"resumed from {resuming.STATE}: exactly as after epoch 1" in said
        assert outcome_of(tmp_path)["resumed"] == 1


# --- train ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(("event", "workers"), [("on_train_batch_end", 0), ("on_model_save", 2)])
def test_killed(event, workers, scenes, undisturbed, tmp_path):
    words = [str(TESTS), str(scenes), str(tmp_path), str(workers), event]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert outcome_of(tmp_path)["status"] == "begun"
    (tmp_path / "run" / "weights" / ".state.pt.1.part").write_bytes(b"half")  # as where it was killed while it wrote
    check_same(by_train(scenes, tmp_path, resume=True, workers=workers), undisturbed(by_train, workers=workers))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("without_mosaics", [1, 2])
def test_resumed_with_the_end_of_mosaics_and_after_it(without_mosaics, workers, scenes, tmp_path):
    """An epoch of three batches: after the break another worker is the first to be asked."""
    options = {"batch": 6, "close_mosaic": without_mosaics, "workers": workers}
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    wanted = by_train(scenes, tmp_path / "whole", **options)
    with pytest.raises(StoppedError):
        by_train(scenes, tmp_path / "stopped", **options, callbacks=[("on_train_batch_end", stop(epoch=2))])
    check_same(by_train(scenes, tmp_path / "stopped", resume=True, workers=workers), wanted)


@pytest.mark.slow
def test_other_workers_than_before_are_named(scenes, tmp_path, said):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, workers=2, callbacks=[("on_train_batch_end", stop(epoch=1))])
    train(scenes, tmp_path, resume=True, workers=0)
    assert [line for line in said if line.startswith("the loader has other workers")]


@pytest.mark.slow
def test_stopped_twice(scenes, undisturbed, tmp_path):
    for epoch, resume in ((1, False), (2, True)):
        with pytest.raises(StoppedError):
            train(scenes, tmp_path, resume=resume, callbacks=[("on_train_batch_end", stop(epoch))])
    check_same(by_train(scenes, tmp_path, resume=True), undisturbed(by_train, workers=0))
    assert outcome_of(tmp_path)["resumed"] == 2


@pytest.mark.slow
def test_an_optimizer_that_the_host_chose(scenes, tmp_path):
    """It is built from other arguments when resumed: the host writes down what it chose, but not all of it."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    wanted = by_train(scenes, whole, optimizer="auto")
    with pytest.raises(StoppedError):
        train(scenes, stopped, optimizer="auto", callbacks=[("on_train_batch_end", stop(epoch=1))])
    check_same(by_train(scenes, stopped, resume=True), wanted)


def spoil_by_removing(state):
    state.unlink()


def spoil_by_another_training(state):
    torch.save({**torch.load(state, weights_only=False), "run": ("elsewhere", 0)}, state)


def spoil_by_other_weights(state):
    stored = torch.load(state, weights_only=False)
    next(iter(stored["ema"].values())).add_(1)
    torch.save(stored, state)


@pytest.mark.slow
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
    wanted = undisturbed(by_train, workers=0).weights
    assert any(not torch.equal(wanted[k], v) for k, v in resumed.weights.items())
    assert [line for line in said if "as Ultralytics does" in line and reason in line]


@pytest.mark.slow
def test_what_cannot_be_exact_is_left_to_the_host(scenes, tmp_path, said):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", stop(epoch=1))], time=1.0)
    assert left_over(tmp_path) == []
    train(scenes, tmp_path, resume=True, callbacks=[("on_fit_epoch_end", lambda t: setattr(t, "stop", True))])
    assert [line for line in said if "time= is set" in line]


@pytest.mark.slow
def test_changed_arguments_are_named(scenes, tmp_path, said):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", stop(epoch=1))])
    train(scenes, tmp_path, resume=True, batch=4)
    assert [line for line in said if line.startswith("batch changed")]


@pytest.mark.slow
def test_a_new_training_in_the_same_folder_forgets_the_old_one(scenes, tmp_path):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", stop(epoch=1))])
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, exist_ok=True, callbacks=[("on_train_batch_end", stop(epoch=0))])
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_workers_are_kept_from_epoch_to_epoch_and_continued(scenes, tmp_path, with_workers):
    """A training starts them once, and once more where mosaics end, as Ultralytics does."""
    whole = by_comparison(scenes, tmp_path)
    training = [pids for pids in with_workers if len(pids) == 2]
    assert len(training) == 2, with_workers
    for hook in HOOKS:
        folder = tmp_path / f"{hook[0]}-{hook[1]}"
        folder.mkdir()
        with dying(*hook), pytest.raises(StoppedError):
            by_comparison(scenes, folder)
        check_same(by_comparison(scenes, folder, resume=True), whole, EPOCHS[by_comparison])
