"""External failures of a training end in a one-line error, and nothing incomplete counts as complete."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from support.tiers import sampled
from support.tiny_training import outcome_of, results_of, train
from ultralytics.nn.tasks import DetectionModel

import yolo_attn as ya
from yolo_attn.compare import caveats
from yolo_attn.host.trainer import stop_workers
from yolo_attn.train import resume
from yolo_attn.train.outcome import OutcomeMixin, explain
from yolo_attn.util import files

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(scenes, tmp_path_factory):
    return train(scenes, tmp_path_factory.mktemp("undisturbed"))


def same(trainer, other):
    return [k for k, v in other.weights.items() if not torch.equal(v, trainer.weights[k])] == []


# --- a full disk ------------------------------------------------------------------------------------------------------
def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_a_checkpoint(path, content, original=Path.write_bytes):
    if path.name == "last.pt":
        original(path, content[: len(content) // 2])
        full_disk()
    return original(path, content)


def half_a_state(content, file, *rest, original=torch.save, **named):
    if isinstance(file, Path) and resume.STATE in file.name:
        file.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed writing file data/1")
    return original(content, file, *rest, **named)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "broken"), [(Path, "write_bytes", half_a_checkpoint), (torch, "save", half_a_state)]
)
def test_a_full_disk_leaves_what_was_whole(owner, name, broken, scenes, undisturbed, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fill = ("on_train_epoch_start", lambda t: t.epoch == 1 and patch.setattr(owner, name, broken))
        with pytest.raises(ya.YoloAttnError, match=r"^the disk is full: \d+ MB are left"):
            train(scenes, tmp_path, callbacks=[fill])
    weights = tmp_path / "run" / "weights"
    assert outcome_of(tmp_path)["status"] == "failed"
    assert "the disk is full" in outcome_of(tmp_path)["reason"]
    assert not list(weights.glob(".*"))
    assert torch.load(weights / "last.pt", weights_only=False)["ema"] is not None
    assert resume.read_state(weights)["epoch"] == 0
    assert same(train(scenes, tmp_path, resume=True), undisturbed)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_torch_says_of_a_full_disk_is_understood(tmp_path):
    with pytest.raises((OSError, RuntimeError)) as by_torch:
        torch.save({"x": torch.zeros(10**6)}, "/dev/full")
    assert explain(by_torch.value, tmp_path).startswith("the disk is full")
    with pytest.raises(OSError, match="No space") as by_python, open("/dev/full", "wb") as file:
        file.write(bytes(10**6))
    assert explain(by_python.value, tmp_path).startswith("the disk is full")


def test_a_state_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    state = dict.fromkeys(resume._FACTS, 1)
    file = files.write_torch(tmp_path / "state.pt", state)
    monkeypatch.setattr(torch, "save", lambda content, part: (Path(part).write_bytes(b"half"), full_disk()))
    with pytest.raises(OSError, match="No space"):
        files.write_torch(file, {"epoch": 2})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]
    assert resume.read_state(tmp_path) == state


# --- a worker process that dies ---------------------------------------------------------------------------------------
KILLED = "a worker of the data loader was killed"
LOADER = "torch.utils.data.dataloader"


@pytest.mark.slow
def test_a_killed_worker_of_the_loader_is_named(scenes, tmp_path):
    def kill(trainer):
        if trainer.epoch == 1:
            trainer.train_loader.iterator._workers[0].kill()

    # More epochs than are loaded ahead: what the worker has delivered before its end must not be enough.
    with pytest.raises(ya.YoloAttnError, match=rf"^{KILLED}.*\d+ epochs are saved"):
        train(scenes, tmp_path, workers=2, epochs=12, close_mosaic=0, callbacks=[("on_train_batch_start", kill)])
    assert outcome_of(tmp_path)["status"] == "failed"


class Zeros(torch.utils.data.Dataset):
    """Tensors passed by file descriptor, which requires that the worker lives."""

    def __len__(self):
        return 2000

    def __getitem__(self, index):
        return torch.zeros(1000)


@pytest.fixture
def no_signals():
    """Disable torch's signal handler, so that the end of a worker is detected by its pipes alone."""
    batches = iter(torch.utils.data.DataLoader(Zeros(), batch_size=2, num_workers=2))
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield batches
    stop_workers(batches)
    signal.signal(signal.SIGCHLD, handler)


@pytest.mark.parametrize("after", sampled([0, 1, 3, 10, 30], [0, 30], "slow"))
def test_however_a_killed_worker_shows_it_is_named(after, no_signals, tmp_path):
    def read_all():
        for number, _ in enumerate(no_signals):
            if number == after:
                no_signals._workers[0].kill()

    with pytest.raises((RuntimeError, OSError, EOFError)) as ended:
        read_all()
    assert explain(ended.value, tmp_path).startswith(KILLED)


def test_workers_are_stopped_where_a_killed_one_holds_a_lock(no_signals):
    next(no_signals)
    assert no_signals._workers_done_event._cond.acquire()  # for good, as by a worker that was killed with it
    no_signals._workers[0].kill()
    no_signals._workers[0].join()
    stop_workers(no_signals)
    assert not any(worker.is_alive() for worker in no_signals._workers)


class Killed:
    """Trainer with a killed worker, whose signal arrives while the first error is handled."""

    def __init__(self, folder, first, late):
        self.save_dir, self.last, self.first, self.late, self.closed = folder, folder / "last.pt", first, [late], 0

    def train(self):
        raise self.first

    def close_loaders(self):
        self.closed += 1
        if self.late:
            raise self.late.pop()


def test_a_signal_while_a_killed_worker_is_dealt_with(tmp_path):
    late = RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. ")
    first = raised_through(ConnectionResetError("reset"), LOADER, "multiprocessing.connection")
    trainer = type("Trainer", (OutcomeMixin, Killed), {"close_loaders": Killed.close_loaders})(tmp_path, first, late)
    with pytest.raises(ya.YoloAttnError, match=rf"^{KILLED}.*pid 5.*no epoch was saved"):
        trainer.train()
    assert trainer.closed == 2
    assert json.loads((tmp_path / "training.json").read_text())["status"] == "failed"


def raised_through(error, *modules):
    """Raise an error in the last of these modules, each called by the one before, and return it."""

    def fail():
        raise error.with_traceback(None)

    functions = [fail]
    for module in reversed(modules):
        held = {"__name__": module, "inner": functions[-1]}
        exec("def call(): inner()", held)
        functions.append(held["call"])
    with pytest.raises(type(error)) as raised:
        functions[-1]()
    return raised.value.with_traceback(raised.tb)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        EOFError(),
    ],
)
@pytest.mark.parametrize("pipe", ["multiprocessing.connection", "torch.multiprocessing.reductions"])
def test_a_broken_pipe_to_a_worker_is_a_killed_worker(error, pipe, tmp_path):
    found = explain(raised_through(error, "mine", LOADER, "multiprocessing.queues", pipe), tmp_path)
    assert found.startswith(f"{KILLED}, usually for lack of memory; use fewer workers= (")
    assert "()" not in found
    for elsewhere in ((), ("mine", pipe), ("mine", LOADER, "mine"), (pipe, LOADER, "mine")):
        assert explain(raised_through(error, *elsewhere), tmp_path) is None, elsewhere


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 5) is killed by signal: Killed. ",
        "DataLoader worker (pid 5) exited unexpectedly with exit code 1. Details are lost due to multiprocessing.",
        "DataLoader worker (pid(s) 5, 6) exited unexpectedly",
    ],
)
def test_what_torch_says_of_a_killed_worker_is_understood(text, tmp_path):
    assert explain(RuntimeError(text), tmp_path).startswith(KILLED)


def test_an_error_that_a_worker_passed_on_is_no_killed_worker(tmp_path):
    error = EOFError("Caught EOFError in DataLoader worker process 0.")
    assert explain(raised_through(error, LOADER, "multiprocessing.queues"), tmp_path) is None


# --- losses that are not finite ---------------------------------------------------------------------------------------
@pytest.fixture
def spoiled(monkeypatch):
    """Make the loss NaN while a condition on the trainer holds; return a callback that sets the condition."""
    now = []
    original = DetectionModel.loss

    def loss(self, *args):
        total, items = original(self, *args)
        return (total * float("nan"), items) if now[-1:] == [True] else (total, items)

    monkeypatch.setattr(DetectionModel, "loss", loss)
    cleared = ("on_val_start", lambda _: now.clear())
    return lambda when: [("on_train_batch_start", lambda t: now.append(when(t))), cleared]


def once_in_the_second_epoch(trainer):
    return trainer.epoch == 1 and trainer.nan_recovery_attempts == 0


@pytest.mark.slow
def test_a_loss_that_is_not_finite_once_is_said_and_kept_in_mind(scenes, undisturbed, tmp_path, spoiled):
    trainer = train(scenes, tmp_path, callbacks=spoiled(once_in_the_second_epoch))
    assert outcome_of(tmp_path)["status"] == "complete"
    assert outcome_of(tmp_path)["epochs_done_again"] == [2]
    assert [row["epoch"] for row in results_of(tmp_path)] == ["1", "2", "3"]
    assert all(v.isfinite().all() for v in trainer.weights.values())
    assert not same(trainer, undisturbed)


@pytest.mark.slow
def test_weights_that_are_not_finite_are_seen_before_they_are_saved(scenes, tmp_path):
    """The loss was computed before the last step, so Ultralytics would notice an epoch later, and save these."""

    def spoil(trainer):
        if once_in_the_second_epoch(trainer):
            trainer.model.model[3].conv.weight.data[0] = float("nan")

    trainer = train(scenes, tmp_path, callbacks=[("on_train_epoch_end", spoil)])
    assert outcome_of(tmp_path)["epochs_done_again"] == [2]
    assert all(v.isfinite().all() for v in trainer.weights.values())


@pytest.mark.slow
def test_stopped_while_an_epoch_is_done_again(scenes, tmp_path, spoiled):
    """Resumed, the epoch fails and recovers as it did, and the training ends as it would have."""

    def stop(trainer):
        if trainer.nan_recovery_attempts == 1:
            raise KeyboardInterrupt

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = train(scenes, tmp_path / "whole", callbacks=spoiled(once_in_the_second_epoch))
    with pytest.raises(KeyboardInterrupt):
        train(
            scenes, tmp_path / "stopped", callbacks=[*spoiled(once_in_the_second_epoch), ("on_train_batch_end", stop)]
        )
    assert outcome_of(tmp_path / "stopped")["status"] == "stopped"
    resumed = train(scenes, tmp_path / "stopped", resume=True, callbacks=spoiled(once_in_the_second_epoch))
    assert same(resumed, whole)
    assert outcome_of(tmp_path / "stopped")["epochs_done_again"] == [2]


@pytest.mark.slow
def test_a_first_epoch_that_ruins_the_weights_is_a_failure(scenes, tmp_path, spoiled):
    """Ultralytics would continue, and write a checkpoint with zeros for what is not finite."""
    with pytest.raises(ya.YoloAttnError, match="the loss is not finite: after epoch 1"):
        train(scenes, tmp_path, nbs=8, callbacks=spoiled(lambda t: t.epoch == 0))
    assert outcome_of(tmp_path)["status"] == "failed"
    assert not (tmp_path / "run" / "weights" / "last.pt").exists()


@pytest.mark.slow
def test_a_loss_that_stays_not_finite_is_a_failure(scenes, tmp_path, spoiled):
    with pytest.raises(ya.YoloAttnError, match=r"the loss stays not finite.*1 epochs are saved"):
        train(scenes, tmp_path, callbacks=spoiled(lambda t: t.epoch == 1))
    assert outcome_of(tmp_path)["status"] == "failed"
    assert resume.read_state(tmp_path / "run" / "weights")["epoch"] == 0


# --- too little memory ------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_half_the_batch_is_said_and_trained_right(scenes, tmp_path, monkeypatch):
    """Half the batch is Ultralytics' way out; the steps and the weight decay are then those of half the batch."""
    original = DetectionModel.loss

    def too_small(self, batch, *args):
        if self.training and len(batch["img"]) > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(self, batch, *args)

    monkeypatch.setattr(DetectionModel, "loss", too_small)
    (tmp_path / "halved").mkdir()
    halved = train(scenes, tmp_path / "halved", val=False, nbs=16)
    assert outcome_of(tmp_path / "halved")["batch_sizes"] == [8, 4]
    (tmp_path / "half").mkdir()
    half = train(scenes, tmp_path / "half", val=False, batch=4, nbs=16)
    decays = [[g["weight_decay"] for g in t.optimizer.param_groups] for t in (halved, half)]
    assert decays[0] == decays[1]
    assert halved.ema.updates == half.ema.updates


@pytest.mark.slow
def test_no_memory_for_a_later_epoch_is_named(scenes, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    start = ("on_train_epoch_start", lambda t: t.epoch == 1 and monkeypatch.setattr(DetectionModel, "loss", fail))
    with pytest.raises(RuntimeError, match=r"^out of memory; a smaller batch.*1 epochs are saved"):
        train(scenes, tmp_path, callbacks=[start])


@pytest.mark.slow
def test_other_errors_keep_their_type(scenes, tmp_path):
    def fail(trainer):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        train(scenes, tmp_path, callbacks=[("on_train_batch_end", fail)])
    assert outcome_of(tmp_path)["reason"] == "ZeroDivisionError('mine')"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (torch.OutOfMemoryError("of another device"), "out of memory"),
        (RuntimeError("the queue of my logger is out of memory"), None),
        (RuntimeError("upload failed: No space left on device at the other end"), None),
        (RuntimeError("Caught KeyError in DataLoader worker process 0."), None),
        (OSError(errno.ENOENT, "No such file"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_what_is_a_fault_and_which(error, says, tmp_path):
    found = explain(error, tmp_path)
    assert found is None if says is None else found.startswith(says)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        RuntimeError("Training failed: NaN persisted for 4 epochs"),
    ],
    ids=repr,
)
def test_a_fault_is_caught_as_with_the_host(error, tmp_path):
    fails = raised_through(error, LOADER, "multiprocessing.connection")
    trainer = type("Trainer", (OutcomeMixin, Killed), {"close_loaders": Killed.close_loaders})(tmp_path, fails, None)
    trainer.late.clear()
    with pytest.raises(type(error)) as raised:
        trainer.train()
    assert isinstance(raised.value, ya.YoloAttnError)
    assert getattr(raised.value, "errno", None) == getattr(error, "errno", None)
    assert raised.value.__cause__ is error


def test_a_comparison_names_a_run_that_went_back():
    run = {"arm": "yolo11n-ela", "seed": 1, "recovered": [2, 3]}
    said = list(caveats._recovered({}, {"a": run, "b": {"arm": "yolo11n", "seed": 1}}))
    assert len(said) == 1
    assert said[0].startswith("yolo11n-ela, seed 1: the loss was not finite in epoch 2, 3")
