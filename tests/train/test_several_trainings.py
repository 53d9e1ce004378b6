"""Trainings that Ultralytics starts as processes of their own, for several sets or to tune, are this package's too."""

import json
import re
import sys
import threading
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from ultralytics.engine import trainer as host

import yolo_attn as ya
from yolo_attn.weights.transfer import transfer_weights

STILL = {
    "epochs": 1, "imgsz": 32, "batch": 8, "plots": False, "optimizer": "SGD", "workers": 0, "device": "cpu",
    "lr0": 0.0, "warmup_epochs": 0.0, "warmup_bias_lr": 0.0, "val": False,
}  # fmt: skip
NAMES = {0: "square", 1: "ship", 2: "disc"}
"""Classes of the weights; the drawn sets have disc, square and triangle."""
needs_command = pytest.mark.skipif(not hasattr(host, "_YOLO_CLI_COMMAND"), reason="this Ultralytics starts no commands")


@pytest.fixture(scope="module")
def weights(tiny_models, tmp_path_factory):
    """A checkpoint of the tiny model without attention, with random weights and classes of its own."""
    torch.manual_seed(5)
    model = built(tiny_models[0])
    return stored(model, tmp_path_factory.mktemp("weights") / "tiny.pt")


def built(file):
    model = ultralytics.nn.tasks.DetectionModel({**yaml.safe_load(Path(file).read_text()), "nc": 3}, verbose=False)
    model.names = dict(NAMES)
    return model


def stored(model, file):
    torch.save({"model": model.half(), "train_args": {"task": "detect"}}, file)
    return file


@pytest.fixture(scope="module")
def sets(scenes, tmp_path_factory):
    """The drawn set, and the same with its classes in another order and one renamed."""
    content = yaml.safe_load(scenes.read_text())
    other = tmp_path_factory.mktemp("sets") / "other.yaml"
    content["path"] = str(scenes.parent / content.get("path", "."))
    other.write_text(yaml.safe_dump({**content, "names": {0: "square", 1: "disc", 2: "kite"}}))
    return {"scenes": scenes, "other": other}


def of_the_weights(trained, weights):
    """Return the names of the tensors that differ from the weights', without those of attention."""
    trained = ultralytics.YOLO(trained).model.float()
    base = ultralytics.YOLO(weights).model.float()
    head, last = len(trained.model) - 1, len(base.model) - 1
    expected = {re.sub(rf"^model\.{last}\.", f"model.{head}.", k): v for k, v in base.state_dict().items()}
    state = trained.state_dict()
    assert len(state) > len(expected)
    running = ("running_mean", "running_var", "num_batches_tracked")
    return {k for k, v in expected.items() if not k.endswith(running) and not torch.equal(v, state[k])}, trained


def class_rows(model):
    """Return the weights of each class by its name."""
    rows = [scores[-1].weight for scores in model.model[-1].cv3]
    return {name: [row[i] for row in rows] for i, name in model.names.items()}


def check_run(folder, weights, frozen=False):
    """The base of the run is the weights', class rows by name; all that a training of ours writes is there."""
    changed, trained = of_the_weights(folder / "weights" / "last.pt", weights)
    assert all(re.match(r"model\.\d+\.cv3\.\d\.2\.(weight|bias)", k) for k in changed), sorted(changed)
    rows, given = class_rows(trained), class_rows(ultralytics.YOLO(weights).model.float())
    assert {n for n in rows if n in given and all(map(torch.equal, rows[n], given[n]))} == {"square", "disc"}
    assert (folder / "gates.csv").read_text().count("\n") > 1
    assert json.loads((folder / "training.json").read_text())["status"] == "complete"
    stored = torch.load(folder / "weights" / "last.pt", weights_only=False)["train_args"]
    assert isinstance(stored["freeze"], list) == frozen


@pytest.mark.slow
@needs_command
@pytest.mark.parametrize("how", ["pretrained", "a checkpoint, frozen"])
def test_every_set_starts_from_the_weights(how, sets, weights, tiny_models, tmp_path, monkeypatch):
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "1")
    settings = {**STILL, "data": [str(file) for file in sets.values()], "project": str(tmp_path)}
    if how == "pretrained":
        results = ya.YOLO(tiny_models[1]).train(pretrained=str(weights), **settings)
    else:
        attention = built(tiny_models[1])
        transfer_weights(attention, weights)
        results = ya.YOLO(stored(attention, tmp_path / "attention.pt")).train(freeze="base", **settings)
    assert None not in results.values()
    folders = sorted(record.parent for record in tmp_path.rglob("training.json"))
    assert len(folders) == len(results) == 2
    for folder in folders:
        check_run(folder, weights, frozen=how != "pretrained")


@pytest.mark.slow
@needs_command
def test_a_search_for_arguments_starts_from_the_weights(sets, weights, tiny_models, tmp_path):
    ya.YOLO(tiny_models[1]).tune(
        data=str(sets["scenes"]), pretrained=str(weights), iterations=1, project=str(tmp_path), freeze="base",
        space={"box": (7.0, 8.0)}, **{**STILL, "val": True},
    )  # fmt: skip
    (record,) = tmp_path.rglob("training.json")
    check_run(record.parent, weights, frozen=True)


@pytest.mark.slow
@needs_command
def test_callbacks_make_the_trainings_run_here_with_the_same_weights(sets, weights, tiny_models, tmp_path):
    seen = []
    model = ya.YOLO(tiny_models[1])
    model.add_callback("on_train_end", lambda trainer: seen.append(Path(trainer.save_dir)))
    model.train(data=[str(sets["other"])], pretrained=str(weights), project=str(tmp_path), **STILL)
    assert len(seen) == 1
    check_run(seen[0], weights)


@pytest.fixture
def commands(monkeypatch):
    """Record the commands that would be run instead of running them."""
    run = []
    monkeypatch.setattr(host.subprocess, "run", lambda words, **_: run.append(words))
    return run


@needs_command
def test_plain_ultralytics_in_another_thread_runs_its_own_command(commands, sets, tiny_models, tmp_path):
    settings = {**STILL, "data": [str(sets["scenes"])], "project": str(tmp_path)}

    def train_plainly():
        ultralytics.YOLO(tiny_models[0]).train(**settings)

    thread = threading.Thread(target=train_plainly)

    def run(words, **_):
        commands.append(words)
        if not thread.ident:  # while the training of ours is under way
            thread.start()
            thread.join()

    host.subprocess.run = run
    ya.YOLO(tiny_models[1]).train(**settings)
    train_plainly()
    assert [words[:4] for words in commands] == [
        [sys.executable, "-m", "yolo_attn", "train"],
        [sys.executable, "-m", "ultralytics.cfg.__init__", "train"],
        [sys.executable, "-m", "ultralytics.cfg.__init__", "train"],
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pretrained": "missing.pt"}, "no weights at 'missing.pt'"),
        ({"freeze": "base"}, "give pretrained="),
        ({"freeze": "bass"}, "Did you mean 'base'"),
    ],
)
@pytest.mark.parametrize("kind", ["train", "tune"])
def test_what_every_training_would_refuse_is_refused_at_once(kind, settings, says, commands, sets, tiny_models):
    model = ya.YOLO(tiny_models[1])
    with pytest.raises(ya.YoloAttnError, match=says):
        getattr(model, kind)(data=[str(sets["scenes"])], **STILL, **settings)
    assert not commands


def test_a_host_without_the_command_is_left_alone_and_says_what_is_lost(commands, monkeypatch, caplog, tmp_path, sets):
    monkeypatch.delattr(host, "_YOLO_CLI_COMMAND", raising=False)
    model = ya.YOLO("yolo11n-ela.yaml")
    monkeypatch.setattr(ultralytics.YOLO, "train", lambda *_, **__: "the host's")
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    with caplog.at_level("WARNING", logger="ultralytics"):
        assert model.train(data=[str(sets["scenes"])]) == "the host's"
    assert "freeze=base has no effect" in caplog.text
