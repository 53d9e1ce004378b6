"""Gate log: correct values, no effect on the training, and a warning for gates that never changed."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.tiny_training import StoppedError, results_of, stop, tiny_yaml, train
from support.users_blocks import known
from torch import nn

import yolo_attn as ya
from yolo_attn.gates import host, log
from yolo_attn.gates.find import attention_blocks, declared_maps
from yolo_attn.gates.statistics import distance, statistics_of, subsample
from yolo_attn.gates.watch import maps_of

pytestmark = pytest.mark.usefixtures("one_thread")


class Unseen(nn.Module):
    """A user's block without ``attention``."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.weight


class Broken(Unseen):
    """A user's block whose ``attention`` fails, after it has drawn random numbers."""

    def attention(self, x):
        torch.rand(1), np.random.rand()
        raise ZeroDivisionError("mine")


@pytest.fixture
def users_blocks():
    with known(Unseen, Broken):
        yield


@pytest.fixture
def warned(monkeypatch):
    lines = []
    monkeypatch.setattr(host._LOG, "warning", lines.append)
    return lines


@pytest.fixture(scope="module")
def logged(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    return folder, train(scenes, folder)


def rows_of(folder):
    return log.read_gates(folder / "run" / "gates.csv")


# --- the training -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_training_is_the_same_without_it(logged, scenes, tmp_path, monkeypatch):
    folder, with_log = logged
    monkeypatch.setattr(host.GateLog, "_begin_gate_log", lambda self: None)
    without = train(scenes, tmp_path)
    assert rows_of(tmp_path) == []
    assert [k for k, v in with_log.weights.items() if not torch.equal(v, without.weights[k])] == []
    assert results_of(tmp_path) == results_of(folder)


def test_nothing_of_a_model_changes_by_measuring(logged):
    _, trainer = logged
    model, images = trainer.ema.ema, trainer._gate_images
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    log.measure_gates(attention_blocks(model), model, images)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m.training or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_a_block_that_fails_ends_the_log_not_the_training(users_blocks, scenes, tmp_path, warned):
    model = ya.YOLO(tiny_yaml(tmp_path, "Broken"))
    seen = []
    model.add_callback("on_train_start", lambda t: seen.append(torch.get_rng_state()))
    after = ("on_train_start", lambda t: seen.append(torch.get_rng_state()))
    model.add_callback("on_pretrain_routine_end", lambda t: t.add_callback(*after))
    train_one_epoch(model, scenes, tmp_path)
    assert len(results_of(tmp_path)) == 1
    assert [line for line in warned if line == "gates.csv ends here: ZeroDivisionError: mine"]
    assert torch.equal(*seen)


@pytest.mark.slow
def test_a_block_without_maps_is_named_once(users_blocks, scenes, tmp_path, warned):
    train_one_epoch(ya.YOLO(tiny_yaml(tmp_path, "Unseen")), scenes, tmp_path)
    assert [line for line in warned if "Unseen" in line] == [
        "gates.csv leaves out Unseen: a block is logged by its method attention(x)"
    ]
    assert rows_of(tmp_path) == []


def train_one_epoch(model, scenes, folder, **changes):
    from support.tiny_training import RECIPE

    settings = {**RECIPE, "epochs": 1, "warmup_epochs": 0, "data": str(scenes), "project": str(folder), "name": "run"}
    model.train(**{**settings, **changes})
    return model.trainer


# --- what is logged ---------------------------------------------------------------------------------------------------
@pytest.mark.contract("shows")
def test_every_gate_has_a_row_for_every_epoch(logged):
    rows = rows_of(logged[0])
    maps = [(path, n) for path in ("model.3", "model.4.m.0.cv2.attention", "model.7") for n in (1, 2)]
    assert [(r.path, r.map) for r in rows] == maps * 4
    assert [r.epoch for r in rows] == [e for e in (0, 1, 2, 3) for _ in maps]
    places = {r.path: (r.row, r.place, r.block) for r in rows}
    assert places == {
        "model.3": (3, "backbone:P3", "ELA"),
        "model.4.m.0.cv2.attention": (4, "backbone:P3", "ELA"),
        "model.7": (7, "neck:P5", "ELA"),
    }
    assert {r.distance for r in rows if r.epoch == 0} == {0.0}


def test_the_last_row_is_what_the_model_computes(logged):
    """Taken here without hooks: the rows before the block are run one by one."""
    folder, trainer = logged
    model, x = trainer.ema.ema, trainer._gate_images
    with torch.no_grad():
        for i in range(3):
            x = model.model[i](x)
        gates = model.model[3].attention(x)
    rows = [r for r in rows_of(folder) if r.epoch == 3 and r.path == "model.3"]
    for row, gate in zip(rows, gates, strict=True):
        values = gate.double().numpy()
        assert row.mean == pytest.approx(values.mean(), rel=1e-5)
        assert row.std == pytest.approx(values.std(), rel=1e-4)
        assert (row.min, row.max) == pytest.approx((values.min(), values.max()), rel=1e-5)
        assert row.dead == pytest.approx((values < 0.02).mean())
        assert row.distance > 0


def test_images_are_those_of_validation(logged):
    _, trainer = logged
    batch = next(iter(trainer.test_loader))
    assert torch.equal(trainer._gate_images, batch["img"][:1].float() / 255)  # 16 images are trained on


@pytest.mark.slow
def test_unchanged_gates_are_named(scenes, tmp_path, warned):
    """Two of the blocks stay at the identity, whatever they see; the first is pushed away from it."""
    model = ya.YOLO(tiny_yaml(tmp_path, "ELA", {"init": "identity"}))
    model.add_callback("on_train_batch_end", lambda t: t.ema.ema.model[3].norm.bias.add_(0.1))
    train_one_epoch(model, scenes, tmp_path, freeze=["4.m.0.cv2.attention", "7"])
    assert [line.partition(":")[0] for line in warned if "gates changed by less" in line] == [
        "2 of 3 gates changed by less than 0.1% during training"
    ]
    assert "row 4 ELA (backbone:P3, m.0.cv2.attention), row 7 ELA (neck:P5); see" in warned[-1]


@pytest.mark.slow
def test_a_stock_model_has_no_log(scenes, tmp_path):
    file = tiny_yaml(tmp_path)
    file.write_text(file.read_text().replace("C2f_ELA", "C2f").replace("ELA", "nn.Identity").replace("- - {}", "- []"))
    model = ya.YOLO(file)
    assert attention_blocks(model.model) == {}


@pytest.mark.slow
def test_what_is_done_again_is_logged_once(scenes, tmp_path):
    with pytest.raises(StoppedError):
        train(scenes, tmp_path, callbacks=[("on_train_epoch_end", lambda t: None), ("on_model_save", stop(epoch=1))])
    assert {r.epoch for r in rows_of(tmp_path)} == {0, 1, 2}
    train(scenes, tmp_path, resume=True)
    assert [r.epoch for r in rows_of(tmp_path)] == [e for e in (0, 1, 2, 3) for _ in range(6)]


def test_scalars_go_where_tensorboard_is(monkeypatch):
    from yolo_attn.train.trainer import TrainerMixin

    got = []
    writer = SimpleNamespace(add_scalar=lambda *args: got.append(args))
    monkeypatch.setitem(sys.modules, "ultralytics.utils.callbacks.tensorboard", SimpleNamespace(WRITER=writer))
    TrainerMixin.log_scalars(None, {"gates/17_SE_1/mean": 0.5}, 3)
    assert got == [("gates/17_SE_1/mean", 0.5, 3)]


WITHOUT_RANGE = ("factors", "branches", "weights", "pairs")


# --- statistics -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(ya.ATTENTION_BLOCKS))
@pytest.mark.parametrize("init", ["paper", "identity"])
def test_statistics_of_every_block(name, init):
    torch.manual_seed(0)
    block = ya.create_attention(name, 32, init=init).eval()
    with torch.no_grad():
        maps = maps_of(block, torch.randn(2, 32, 8, 8))
    tops = declared_maps(block, len(maps)).tops
    wanted = 2.0 if init == "identity" and not block.blends else 1.0
    if "tops" in vars(type(block)):  # a range of its own
        assert tops == block.tops
    else:
        assert tops == tuple(None if kind in WITHOUT_RANGE else wanted for kind in block.maps)
    for values, top in zip(maps, tops, strict=True):
        found, plain = statistics_of(values.numpy(), top), values.double().numpy()
        assert found.mean == pytest.approx(plain.mean(), rel=1e-5)
        assert found.std == pytest.approx(plain.std(), rel=1e-3, abs=1e-6)
        assert (found.dead is not None) == (top is not None)


def test_dead_and_saturated_are_shares_of_the_range():
    found = statistics_of(np.array([0.0, 0.09, 0.11, 1.0, 1.89, 1.91]), 2.0)
    assert (found.dead, found.saturated) == pytest.approx((2 / 6, 1 / 6))


def test_distance_is_relative_and_of_thinned_maps():
    first = np.full((2, 3, 400, 400), 0.5, np.float32)
    assert distance(subsample(first * 1.1), subsample(first)) == pytest.approx(0.1, rel=1e-4)
    assert subsample(first).size <= 2**16
    assert distance(np.zeros(3), np.zeros(3)) == 0
    assert distance(np.ones(3), np.zeros(3)) == float("inf")


# --- the file ---------------------------------------------------------------------------------------------------------
STORED = """epoch,row,place,block,path,map,mean,std,min,max,dead,saturated,distance
0,17,neck:P3,ELA,model.17,1,0.5,0.0123457,0.25,0.75,0,0,0
0,21,neck,GC,model.21,1,0.00390625,1e-07,0,1,,,
1,4,backbone:P3,SE,model.4.m.0.cv2.attention,1,1.5,0,1.5,1.5,0,0.25,inf
"""


def test_a_stored_log_is_read_and_written_byte_for_byte(tmp_path):
    file = tmp_path / "gates.csv"
    file.write_text(STORED)
    rows = log.read_gates(file)
    assert (rows[0].epoch, rows[0].block, rows[0].std) == (0, "ELA", 0.0123457)
    assert (rows[1].dead, rows[1].saturated, rows[1].distance) == (None, None, None)
    assert rows[2].name == "row 4 SE (backbone:P3, m.0.cv2.attention)"
    log.write_gates(file, rows)
    assert file.read_text() == STORED


class Softmax(Unseen):
    """A user's block whose map sums to 1 over the channels."""

    def attention(self, x):
        return x.mean((2, 3), keepdim=True).softmax(1)


class Steep(Unseen):
    """A user's block whose gate is in (0, 2), with some images below 1."""

    def attention(self, x):
        return x.mean((2, 3), keepdim=True) * 0 + torch.linspace(0, 1.9, len(x) * x.shape[1]).reshape(len(x), -1, 1, 1)


def test_the_range_of_a_users_block_is_that_of_all_images():
    """The expected shares are those of the values of all images over one range."""
    x = torch.zeros(2, 4, 3, 3)
    at = log.Location(3, "model.3", "Mine", None, "backbone")
    (softmax,) = log._measure(at, Softmax(4), x, 24)
    assert (softmax.statistics.dead, softmax.place) == (None, "backbone:P3")
    (steep,) = log._measure(at, Steep(4), x, 24)
    assert (steep.statistics.dead, steep.statistics.saturated) == (1 / 8, 0)
