"""Loading as Ultralytics does it, with and without attention: class names, what it logs, its own classes."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from support import ddp_on_cpu
from support.random_weights import randomize
from support.tiers import sampled

import yolo_attn as ya
from yolo_attn.host.model import host_model_names
from yolo_attn.host.model_files import unscaled
from yolo_attn.models.built import model_layers

BASES = {
    "yolo11n.yaml": "YOLO",
    "yolo11n-seg.yaml": "YOLO",
    "yolo11n-pose.yaml": "YOLO",
    "yolo11n-obb.yaml": "YOLO",
    "yolo11n-cls.yaml": "YOLO",
    "yolo26n-depth.yaml": "YOLO",
    "yolo26n-sem.yaml": "YOLO",
    "yolov8n-rtdetr.yaml": "RTDETR",
    "yolov8n-worldv2.yaml": "YOLOWorld",
    "yoloe-11n.yaml": "YOLOE",
}
"""Stock models of every task and kind, and their class."""

BASES = {base: kind for base, kind in BASES.items() if unscaled(base) in host_model_names()}


def opened(base, attention=None, package=ultralytics):
    """Open a base, or a model of it with attention, by the class for its kind."""
    return getattr(package, BASES[base])(attention or base)


@pytest.fixture
def with_se(tmp_path):
    """Return a function that writes the YAML of a base with an SE behind row 2, under a name of its family."""
    return lambda base: ya.insert(base, "SE", at="after:2").save(tmp_path / base.replace(".yaml", "-se.yaml"))


def named(model, names=None):
    """Give a model random weights, and names to its classes."""
    model.names = names or {i: f"class {i}" for i in range(len(model.names))}
    return randomize(model)


def base_values(model):
    """Return the tensors of all rows but attention, named as in a model without."""
    rows = [row for row in model_layers(model) if type(row) is not ya.ATTENTION_BLOCKS["SE"]]
    return {f"{i}.{k}": t for i, row in enumerate(rows) for k, t in row.state_dict().items()}


def differing(model, base):
    mine, theirs = base_values(model), base_values(base)
    assert mine.keys() == theirs.keys()
    return [k for k, t in mine.items() if not torch.equal(t, theirs[k])]


# --- Ultralytics' own classes -----------------------------------------------------------------------------------------
@pytest.mark.contract("loads by row")
@pytest.mark.parametrize("base", sampled(BASES, ["yolo11n.yaml", "yolo11n-cls.yaml", "yolov8n-worldv2.yaml"], "slow"))
@pytest.mark.parametrize("package", [ultralytics, ya], ids=["ultralytics", "yolo_attn"])
def test_weights_and_names_arrive_whole_by_every_class(base, package, with_se):
    source = named(opened(base).model)
    model = opened(base, with_se(base), package)
    model.load(source)
    assert differing(model.model, source) == []
    assert model.names == opened(base).load(source).names  # of the source, but for models that get classes from a text


def test_the_log_is_that_of_ultralytics(with_se, caplog):
    base = "yolo11n.yaml"
    with caplog.at_level(logging.INFO, "ultralytics"):
        ultralytics.YOLO(with_se(base)).load(opened(base).model)
    said = [record.getMessage() for record in caplog.records if "ransferred" in record.getMessage()]
    assert said[0] == "Transferred 499/501 items from pretrained weights"
    assert "499 of 499 tensors transferred; 1 new attention rows with 512 parameters" in said[1]
    assert len(said) == 2


def test_ultralytics_takes_the_base_back_out_of_a_model_with_attention(with_se):
    source = named(ya.YOLO(with_se("yolo11n.yaml")).model)
    model = ultralytics.YOLO("yolo11n.yaml")
    model.load({"ema": None, "model": source})
    assert differing(model.model, source) == []
    assert model.names == source.names


def test_without_attention_the_code_of_ultralytics_runs(monkeypatch):
    from yolo_attn.weights import transfer

    monkeypatch.setattr(transfer, "_Plan", None)
    given, taken = named(opened("yolo11n.yaml").model), ultralytics.YOLO("yolo11n.yaml")
    taken.load(given)
    assert differing(taken.model, given) == []


@pytest.mark.slow
def test_weights_do_not_go_by_row_number_in_a_process_that_only_opens_a_checkpoint(with_se, tmp_path):
    """Blocks that a checkpoint holds bring their loading along."""
    model, base = ya.YOLO(with_se("yolo11n.yaml")), ultralytics.YOLO("yolo11n.yaml")
    model.save(tmp_path / "se.pt")
    named(base.model)
    base.save(tmp_path / "base.pt")
    code = (
        "from ultralytics import YOLO; m = YOLO('se.pt').load('base.pt'); b = YOLO('base.pt');"
        "print(m.names == b.names, all((x == y).all() for x, y in zip(m.model.model[-1].state_dict().values(),"
        " b.model.model[-1].state_dict().values())))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "True True", done.stderr


# --- names ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["yolo11n.yaml", "yolo11n-ela.yaml", "yolo11n-se-inside.yaml"])
def test_names_replace_placeholders_only(model):
    mine = {i: f"mine {i}" for i in range(80)}
    source = named(opened("yolo11n.yaml").model)
    for load in (lambda y: ya.transfer_weights(y, source), lambda y: y.load(source)):
        taken = ya.YOLO(model)
        load(taken)
        assert taken.names == source.names
        taken.model.names = mine
        load(taken)
        assert taken.names == mine


def test_names_come_from_a_model_with_the_same_attention_and_not_from_other_tasks():
    source = named(ya.YOLO("yolo11n-ela.yaml").model)
    assert ya.YOLO("yolo11n-ela.yaml").load(source).names == source.names
    assert ya.YOLO("yolo11n-ca.yaml").load(source).names == source.names  # all of the base's tensors
    placeholders = {i: str(i) for i in range(80)}
    for package, target in ((ultralytics, "yolo11n-seg.yaml"), (ya, "yolo11n-seg.yaml")):
        model = opened(target, package=package)
        assert model.load(named(opened("yolo11n.yaml").model)).names == placeholders


def test_the_first_convolution_takes_other_channels_behind_attention_too():
    """A grey image: Ultralytics adds up the filters of three colours."""
    grey = {**ya.insert("yolo11n.yaml", "SE", at="before:0", min_hidden=1).yaml, "channels": 1}
    source = named(opened("yolo11n.yaml").model)
    model = source.__class__(grey, ch=1, verbose=False)
    model.load(source)
    theirs = model_layers(source)[0].conv.weight
    assert torch.equal(model_layers(model)[1].conv.weight, theirs.sum(1, keepdim=True))
    assert model.names == source.names


# --- fine-tuning ------------------------------------------------------------------------------------------------------
OTHER = {0: "triangle", 1: "new", 2: "disc"}
TUNE = {
    "epochs": 1, "imgsz": 32, "batch": 8, "plots": False, "workers": 0, "optimizer": "SGD", "lr0": 0.0, "lrf": 0.0,
    "warmup_epochs": 0, "val": False, "device": "cpu", "verbose": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def renamed(scenes, tmp_path_factory):
    """The drawn set under other names, in another order."""
    data = tmp_path_factory.mktemp("renamed") / "data.yaml"
    data.write_text(yaml.safe_dump({**yaml.safe_load(scenes.read_text()), "names": OTHER}))
    return data


@pytest.fixture(scope="module")
def shapes(tiny_models, tmp_path_factory):
    """A checkpoint of the tiny model that knows discs, squares and triangles."""
    file = tmp_path_factory.mktemp("shapes") / "shapes.pt"
    content = {**yaml.safe_load(Path(tiny_models[0]).read_text()), "nc": 3}
    model = ultralytics.YOLO(tiny_models[0]).model.__class__(content, verbose=False)
    torch.save({"model": named(model, {0: "disc", 1: "square", 2: "triangle"}).half(), "train_args": {}}, file)
    return file


def class_rows(trainer):
    return [scores[-1].weight.detach().clone() for scores in model_layers(trainer.model)[-1].cv3]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["load", "pretrained", "ultralytics", "pretrained by ultralytics"])
@pytest.mark.parametrize("arm", [0, 1], ids=["base", "attention"])
def test_rows_of_classes_follow_their_names_into_fine_tuning(how, arm, tiny_models, shapes, renamed, tmp_path):
    """Of a set with other classes the rows of known classes come from the weights, with attention and without."""
    content = {**yaml.safe_load(Path(tiny_models[arm]).read_text()), "nc": 3}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    model = (ultralytics if "ultralytics" in how else ya).YOLO(tmp_path / "tiny.yaml")
    found = {}
    model.add_callback("on_train_end", lambda trainer: found.update(rows=class_rows(trainer)))
    extra = {"pretrained": str(shapes)} if "pretrained" in how else {}
    model = model if extra else model.load(str(shapes))
    model.train(data=str(renamed), project=str(tmp_path), **TUNE, **extra)
    assert kept_rows(found["rows"], shapes) == [[True, True, False]] * 3


@pytest.mark.slow
@pytest.mark.parametrize("arm", [0, 1], ids=["base", "attention"])
def test_rows_of_classes_follow_their_names_into_a_comparison(arm, tiny_models, shapes, renamed, tmp_path):
    from yolo_attn.compare import host

    content = {**yaml.safe_load(Path(tiny_models[arm]).read_text()), "nc": 3}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    overrides = {**TUNE, "amp": False, "patience": 0}
    done = host.train(tmp_path / "tiny.yaml", str(renamed), str(shapes), 0, tmp_path / "train", overrides)
    head = model_layers(ultralytics.YOLO(done.last).model)[-1]
    assert kept_rows([scores[-1].weight for scores in head.cv3], shapes) == [[True, True, False]] * 3


def kept_rows(rows, shapes):
    """Tell for each level whether triangle, disc and the new class have the values of triangle, disc and square."""
    known = [scores[-1].weight for scores in model_layers(ultralytics.YOLO(shapes).model)[-1].cv3]
    same = ((0, 2), (2, 0), (1, 1))
    return [[torch.equal(mine[i], theirs[j]) for i, j in same] for mine, theirs in zip(rows, known, strict=True)]


@pytest.mark.slow
def test_rows_of_classes_reach_every_process_of_a_multi_gpu_training(tiny_models, shapes, renamed, tmp_path):
    pytest.importorskip("cloudpickle", reason="Ultralytics installs it for its first multi-GPU training")
    content = {**yaml.safe_load(Path(tiny_models[1]).read_text()), "nc": 3}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    model = ya.YOLO(tmp_path / "tiny.yaml").load(shapes)
    model.add_callback("on_train_start", functools.partial(ddp_on_cpu.record, "start", str(tmp_path)))
    with ddp_on_cpu.cpus_for_gpus():
        model.train(data=str(renamed), project=str(tmp_path), **{**TUNE, "batch": 4})
    for rank in range(ddp_on_cpu.RANKS):
        arrived = torch.load(tmp_path / f"start-{rank}.pt", weights_only=False)["parameters"]
        rows = [arrived[f"model.6.cv3.{level}.2.weight"] for level in range(3)]
        assert kept_rows(rows, shapes) == [[True, True, False]] * 3
