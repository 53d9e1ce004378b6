"""Multi-GPU training simulated on the CPU: two workers run the program that Ultralytics writes for them."""

from __future__ import annotations

import csv
import functools
import re
import subprocess
import sys

import pytest
import torch
from support import ddp_on_cpu
from support.ddp_on_cpu import RANKS

import yolo_attn as ya
from yolo_attn.host.trainer import worker_program
from yolo_attn.train.freeze import attention_parameters

pytestmark = pytest.mark.slow
TINY = {"epochs": 1, "imgsz": 64, "batch": 8, "nbs": 8, "plots": False, "workers": 0, "optimizer": "SGD", "lr0": 0.01}
EVENTS = ("on_train_start", "on_train_epoch_end")


@pytest.fixture(scope="module")
def model_yaml(tmp_path_factory):
    """Every block, in rows and inside host blocks."""
    made = ya.insert("yolo11n.yaml", "SE", inside="C3k2", at="neck:P3,P4", init="identity")
    for block in ya.ATTENTION_BLOCKS:
        made = ya.insert(made.yaml, block, at="neck:P5", init="identity")
    return made.save(tmp_path_factory.mktemp("model") / "yolo11n-all.yaml")


@pytest.fixture(scope="module")
def trained(model_yaml, scenes, base_weights, tmp_path_factory):
    """A model trained on two ranks, and what each rank held at the events."""
    pytest.importorskip("cloudpickle", reason="Ultralytics installs it for its first multi-GPU training")
    folder = tmp_path_factory.mktemp("ddp")
    model = ya.YOLO(model_yaml)
    for event in EVENTS:
        model.add_callback(event, functools.partial(ddp_on_cpu.record, event, str(folder)))
    with ddp_on_cpu.cpus_for_gpus():
        model.train(data=str(scenes), pretrained=str(base_weights), project=str(folder), **TINY)
    told = {
        event: [torch.load(folder / f"{event}-{r}.pt", weights_only=False) for r in range(RANKS)] for event in EVENTS
    }
    return model, told


def different(ones, others, what="parameters"):
    return [k for k, v in ones[what].items() if not torch.equal(v, others[what][k])]


def block_of(parameter):
    return re.match(r"model\.\d+(.*\.attention\.)?", parameter)[0]


def test_workers_rebuild_trainer_and_model(trained):
    for told in trained[1]["on_train_start"]:
        assert told["trainer"] == "yolo_attn.train.trainer.ultralytics__models__yolo__detect__train__DetectionTrainer"
        assert told["find_unused"]
        assert not told["static_graph"]
    blocks = {block_of(k) for k in attention_parameters(trained[0].model) if ".attention." not in k}
    assert len(blocks) == len(ya.ATTENTION_BLOCKS)


def test_transferred_weights_arrive_in_every_worker(trained, model_yaml, base_weights):
    """They are those of a model built and loaded in one process; the layers of other classes have other shapes."""
    single = ya.YOLO(model_yaml).load(base_weights).model
    own = attention_parameters(single)
    expected = {k: v for k, v in single.state_dict().items() if k not in own}
    for told in trained[1]["on_train_start"]:
        arrived = {**told["parameters"], **told["buffers"]}
        compared = {k: v for k, v in expected.items() if v.shape == arrived[k].shape}
        assert set(expected) - set(compared) == {k for k in expected if re.fullmatch(r"model\.\d+\.cv3\.\d\.2\.\w+", k)}
        assert [k for k, v in compared.items() if not torch.equal(v, arrived[k])] == []


@pytest.mark.contract("worker rebuilds")
def test_the_program_of_a_worker_rebuilds_the_trainer_in_one_process(scenes, base_weights, tmp_path):
    """Without a learning rate its checkpoint holds the weights of a single process, rounded to half precision."""
    name = "yolo11n-ela.yaml"
    model = ya.YOLO(name).load(base_weights)
    still = {
        **TINY,
        "lr0": 0.0,
        "warmup_bias_lr": 0.0,
        "exist_ok": True,
        "data": str(scenes),
        "project": str(tmp_path),
        "name": "run",
    }
    trainer = model.task_map["detect"]["trainer"](overrides={**model.overrides, **still})
    trainer.model = trainer.get_model(cfg=model.model.yaml, weights=model.model)  # as YOLO.train() does
    program = worker_program(trainer)
    try:
        done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True)
    finally:
        program.unlink()
    assert done.returncode == 0, done.stderr
    last = torch.load(tmp_path / "run" / "weights" / "last.pt", map_location="cpu", weights_only=False)
    arrived = (last["ema"] or last["model"]).float().state_dict()
    single = ya.YOLO(name).load(base_weights).model
    own = attention_parameters(single)
    expected = {k: p for k, p in single.named_parameters() if k not in own}
    compared = {k: p for k, p in expected.items() if p.shape == arrived[k].shape}
    assert [k for k in set(expected) - set(compared) if ".cv3." not in k] == []
    far = [k for k, p in compared.items() if not torch.allclose(p, arrived[k], rtol=1e-3, atol=1e-6)]
    assert far == []


def test_ranks_that_saw_other_images_hold_the_same_weights(trained):
    start, end = (trained[1][event] for event in EVENTS)
    assert not set(end[0]["images"]) & set(end[1]["images"])
    assert end[0]["loss"] != end[1]["loss"]
    assert different(*start) == []
    assert different(*end) == []
    moved = set(different(start[0], end[0]))
    own = attention_parameters(trained[0].model)
    assert "model.0.conv.weight" in moved
    assert {block_of(k) for k in own} == {block_of(k) for k in own & moved}
    assert different(*end, what="buffers"), "batch statistics are each rank's own: nothing converts to SyncBatchNorm"


def test_the_checkpoint_is_a_model_like_any_other(trained):
    model = trained[0]
    assert all(torch.isfinite(v).all() for v in model.model.state_dict().values())
    assert len(model.predict(torch.zeros(1, 3, 64, 64), verbose=False)) == 1


def test_a_killed_training_goes_on_with_two_ranks(scenes, tiny_models, tmp_path):
    """From Ultralytics' own checkpoint: the epoch is done again by both ranks, and they hold the same weights."""
    pytest.importorskip("cloudpickle", reason="Ultralytics installs it for its first multi-GPU training")
    settings = {**TINY, "epochs": 3, "imgsz": 32, "data": str(scenes), "project": str(tmp_path), "name": "x"}
    model = ya.YOLO(tiny_models[1])
    model.add_callback("on_train_epoch_start", ddp_on_cpu.die_in_second_epoch)
    with ddp_on_cpu.cpus_for_gpus(), pytest.raises(Exception, match="non-zero exit status"):
        model.train(**settings)
    last = tmp_path / "x" / "weights" / "last.pt"
    assert epochs_of(last) == ["1"]

    model = ya.YOLO(last)
    model.add_callback("on_train_epoch_end", functools.partial(ddp_on_cpu.record, "end", str(tmp_path)))
    with ddp_on_cpu.cpus_for_gpus():
        model.train(resume=True)
    assert epochs_of(last) == ["1", "2", "3"]
    first, second = (torch.load(tmp_path / f"end-{rank}.pt", weights_only=False) for rank in range(RANKS))
    assert different(first, second) == []
    assert not set(first["images"]) & set(second["images"])


def epochs_of(checkpoint):
    with (checkpoint.parents[1] / "results.csv").open() as file:
        return [row["epoch"].strip() for row in csv.DictReader(file, skipinitialspace=True)]
