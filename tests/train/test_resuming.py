"""A training that was stopped and goes on ends exactly where an undisturbed one does."""

import numpy as np
import pytest
import torch
import yaml
from support.tiers import sampled

from yolo_attn.compare import host
from yolo_attn.host.data import check_data
from yolo_attn.train import resume

# four epochs with all that an epoch can hand to the next: gradients that wait for their step (nbs is three batches,
# an epoch is two), a warm-up over the boundary, mosaics that end before the last two epochs
RECIPE = {
    "epochs": 4, "imgsz": 32, "batch": 8, "nbs": 24, "warmup_epochs": 2, "close_mosaic": 2, "amp": False,
    "optimizer": "SGD", "plots": False, "patience": 0, "device": "cpu",
}  # fmt: skip


class StoppedError(Exception):
    """The process died here."""


def tiny_model(end2end):
    """A few convolutions, attention, and a head; ``end2end`` as in YOLO26, whose loss changes from epoch to epoch."""
    convs = [[-1, 1, "Conv", [8 * 2**k, 3, 2]] for k in range(5)]
    rows = [*convs, [-1, 1, "ELA", [{"init": "identity"}]]]
    extra = {"end2end": True, "reg_max": 1} if end2end else {}
    return {"nc": 80, **extra, "backbone": rows, "head": [[[2, 3, 5], 1, "Detect", ["nc"]]]}


def train(scenes, folder, end2end=False, seed=0, **changes):
    folder.mkdir(exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_model(end2end)))
    return host.train(file, str(scenes), None, seed, folder / "train", {**RECIPE, **changes}, threads=1)


def weights(trained):
    """Weights and their moving average, as trained; a checkpoint would hold them in half precision."""
    state = resume.read_state(trained.last.parent)
    return {f"{kind}.{name}": value for kind in ("model", "ema") for name, value in state[kind].items()}


def differing(ones, others):
    return [name for name, value in ones.items() if not torch.equal(value, others[name])]


def without_times(trained):
    return [{k: v for k, v in row.items() if k != "time"} for row in trained.epochs]


@pytest.fixture(scope="module")
def undisturbed(scenes, tmp_path_factory):
    """What an undisturbed training gives, by kind of model."""
    made = {}

    def get(end2end=False):
        if end2end not in made:
            made[end2end] = train(scenes, tmp_path_factory.mktemp("undisturbed") / "run", end2end)
        return made[end2end]

    return get


def stop_at(monkeypatch, hook, epoch, before):
    """Let a training die at a hook of an epoch, before or after what the hook does."""
    original = getattr(resume.ResumeMixin, hook)

    def dying(self, *args):
        if before and self.epoch == epoch:
            raise StoppedError
        done = original(self, *args)
        if self.epoch == epoch:
            raise StoppedError
        return done

    monkeypatch.setattr(resume.ResumeMixin, hook, dying)


@pytest.mark.parametrize("end2end", sampled([False, True], [False], "slow"))
@pytest.mark.parametrize(
    ("hook", "epoch", "before"),
    sampled(
        [
            ("_store", 0, False),
            ("_store", 1, False),
            ("_store", 2, False),
            ("_store", 3, True),
            ("_end_batch", 1, False),
        ],
        [("_end_batch", 1, False)],
        "slow",
    ),
)
def test_a_stopped_training_ends_as_an_undisturbed_one(
    end2end, hook, epoch, before, scenes, undisturbed, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_at(patch, hook, epoch, before)
        with pytest.raises(StoppedError):
            train(scenes, tmp_path / "run", end2end)
    resumed, wanted = train(scenes, tmp_path / "run", end2end), undisturbed(end2end)
    assert resumed.history["resumed"] == 1
    assert differing(weights(wanted), weights(resumed)) == []
    assert without_times(resumed) == without_times(wanted)
    assert len(resumed.epochs) == 4
    assert resumed.history["first_batches"] == wanted.history["first_batches"]


def test_a_complete_training_is_not_trained_again(scenes, undisturbed, monkeypatch):
    wanted = undisturbed()
    before = wanted.last.read_bytes()
    again = train(scenes, wanted.last.parents[2])
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
    overrides = {**RECIPE, "epochs": 5, "model": str(file), "data": str(scenes), "project": str(tmp_path), "val": False}
    DetectionTrainer(overrides={**overrides, "name": "host"}).train()
    of_host = steps.copy()
    seen.clear()
    steps.clear()
    train(scenes, tmp_path / "run", epochs=5)
    assert steps == of_host
    assert 2 < len(steps) < 10  # neither at every batch nor never


@pytest.mark.slow
def test_seeds_change_what_is_seen_and_arms_do_not(scenes, undisturbed, tmp_path):
    base = undisturbed().history["first_batches"]
    assert len(base) == 64
    assert train(scenes, tmp_path / "b", end2end=True, epochs=3).history["first_batches"] == base
    assert train(scenes, tmp_path / "c", epochs=3, seed=1).history["first_batches"] != base


def test_seed_and_epoch_reach_the_workers_of_the_loader(scenes):
    """On the CPU the host uses no workers, so its loader is asked directly, with two."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_dataloader, build_yolo_dataset

    data = check_data(str(scenes))
    dataset = build_yolo_dataset(get_cfg(), data["train"], 4, data, mode="train", stride=32)
    trainer = type("Trainer", (resume.ResumeMixin,), {})()
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


@pytest.mark.slow
def test_half_the_batch_for_want_of_memory_is_no_result(scenes, tmp_path, monkeypatch):
    """Ultralytics halves the batch and goes on; here that fails, and what is started again begins anew."""
    from ultralytics.nn.tasks import DetectionModel

    def too_small(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(DetectionModel, "loss", too_small)
        with pytest.raises(host.YoloAttnError, match="out of memory: Ultralytics would continue with batch=4"):
            train(scenes, tmp_path / "run")
    assert len(train(scenes, tmp_path / "run").epochs) == 4


@pytest.mark.slow
def test_an_early_stop_is_an_end(scenes, tmp_path, monkeypatch):
    from ultralytics.utils.torch_utils import EarlyStopping

    with monkeypatch.context() as patch:
        patch.setattr(EarlyStopping, "__call__", lambda self, epoch, fitness: epoch == 2)
        stopped = train(scenes, tmp_path / "run", patience=1)
    assert len(stopped.epochs) == 2
    assert train(scenes, tmp_path / "run", patience=1) == stopped
