"""A complete training is not resumed: one line says so, and how to train on."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import yolo_attn as ya
from yolo_attn.train.finished import epochs_if_complete


@pytest.mark.parametrize(
    ("checkpoint", "epochs"),
    [
        (None, None),
        ({}, None),
        ({"epoch": 1, "optimizer": {}, "train_args": {"epochs": 3}}, None),
        ({"epoch": 2, "optimizer": {}, "train_args": {"epochs": 3}}, 3),
        ({"epoch": -1, "optimizer": None, "train_args": {"epochs": 9}}, 9),
        ({"epoch": -1, "optimizer": None, "train_args": {"epochs": 9}, "train_results": {"epoch": [1, 2]}}, 2),
    ],
)
def test_what_is_complete(checkpoint, epochs):
    assert epochs_if_complete(checkpoint) == epochs


@pytest.fixture(scope="module")
def complete(tiny_models, tmp_path_factory):
    """The checkpoint of a complete training of two epochs in its run folder."""
    run = tmp_path_factory.mktemp("run")
    last = run / "weights" / "last.pt"
    last.parent.mkdir()
    (run / "args.yaml").write_text("epochs: 2\n")
    model = ya.YOLO(tiny_models[1]).model
    results = {"epoch": [1, 2]}
    arguments = {"epochs": 2, "task": "detect", "data": "coco8.yaml"}
    stored = {"model": model, "epoch": -1, "optimizer": None, "train_args": arguments, "train_results": results}
    torch.save(stored, last)
    last.with_name("best.pt").write_bytes(last.read_bytes())
    return last


@pytest.mark.parametrize(
    ("resume", "kind"), [(True, ya.YoloAttnError), (str, AssertionError), (Path, AssertionError)], ids=str
)
@pytest.mark.parametrize("settings", [{}, {"data": "coco8.yaml"}])
def test_it_is_refused_in_one_line(resume, kind, settings, complete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ya.YOLO(complete)
    with pytest.raises(kind, match=r"complete after 2 epochs; .* model=\S*best\.pt epochs=\.\.\., without resume") as e:
        model.train(resume=resume if resume is True else resume(complete), project=str(tmp_path), **settings)
    assert isinstance(e.value, ya.YoloAttnError)
    assert not list(tmp_path.iterdir())


def test_weights_that_no_training_here_wrote_train_as_with_the_host(complete, tmp_path, monkeypatch):
    """Official weights too have lost their optimizer: the host warns, and begins a new training."""
    official = tmp_path / "yolo11n.pt"
    official.write_bytes(complete.read_bytes())
    begun = []
    monkeypatch.setattr("ultralytics.YOLO.train", lambda self, trainer, **given: begun.append(given))
    ya.YOLO(official).train(resume=True, data="coco8.yaml")
    assert begun == [{"resume": True, "data": "coco8.yaml"}]


@pytest.mark.slow
def test_the_command_line_refuses_it(complete, tmp_path):
    words = [sys.executable, "-m", "yolo_attn", "train", "resume", f"model={complete}", f"project={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("yolo-attn: nothing to resume: the training of")
    assert not list(tmp_path.iterdir())
