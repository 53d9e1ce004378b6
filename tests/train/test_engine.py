"""Training with the standard commands: weights kept, resume, checkpoints that open anywhere."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
import ultralytics

import yolo_attn as ya
from yolo_attn.host.data import check_data
from yolo_attn.host.safe_load import restricted_loads
from yolo_attn.train import yolo
from yolo_attn.train.trainer import RowTransferMixin
from yolo_attn.weights.transfer import transfer_weights

TINY = {"epochs": 1, "imgsz": 32, "batch": 8, "plots": False, "optimizer": "SGD", "lr0": 1e-4, "workers": 0}


@pytest.fixture(scope="module")
def trained(scenes, base_weights, tmp_path_factory):
    """A model trained for two epochs with callbacks and EMA, stopped after the first by an exception, then resumed."""
    project = tmp_path_factory.mktemp("2nd-try")
    seen = []

    def stop_once(trainer):
        seen.append(trainer.epoch)
        if seen == [0]:
            raise KeyboardInterrupt

    model = ya.YOLO("yolo11n-ela.yaml")
    model.add_callback("on_model_save", stop_once)
    settings = {**TINY, "epochs": 2, "data": str(scenes), "project": str(project), "name": "run"}
    with pytest.raises(KeyboardInterrupt):
        model.train(pretrained=str(base_weights), **settings)
    again = ya.YOLO(project / "run" / "weights" / "last.pt")
    again.train(resume=True)
    return again


@pytest.mark.contract("trains")
@pytest.mark.slow
def test_resuming_finishes_the_run(trained):
    results = (Path(trained.trainer.save_dir) / "results.csv").read_text().splitlines()
    assert [line.split(",")[0].strip() for line in results[1:]] == ["1", "2"]
    assert sum(isinstance(m, ya.ATTENTION_BLOCKS["ELA"]) for m in trained.model.modules()) == 3


@pytest.mark.contract("opens elsewhere")
@pytest.mark.slow
def test_a_checkpoint_opens_in_a_process_that_never_heard_of_us(trained, tmp_path):
    """In another folder, with plain Ultralytics: predict, and train on."""
    best = Path(trained.trainer.best)
    moved = tmp_path / "moved.pt"
    moved.write_bytes(best.read_bytes())
    code = (
        "from ultralytics import YOLO; import sys; m = YOLO('moved.pt'); assert 'yolo_attn' in sys.modules;"
        "r = m.predict(__import__('numpy').zeros((64, 64, 3), 'uint8'), imgsz=64, verbose=False);"
        "print([type(x).__module__ for x in m.model.model if 'attn' in type(x).__module__], len(r))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.strip().splitlines()[-1]
        == "['yolo_attn.blocks.ela', 'yolo_attn.blocks.ela', 'yolo_attn.blocks.ela'] 1"
    )


@pytest.mark.contract("host alone")
@pytest.mark.slow
def test_ultralytics_alone_trains_and_validates(scenes, base_weights, tmp_path):
    """A failure here is a failure of Ultralytics."""
    settings = {**TINY, "data": str(scenes), "project": str(tmp_path), "pretrained": str(base_weights)}
    code = (
        f"import sys; from ultralytics import YOLO; m = YOLO('yolo11n.yaml'); m.train(**{settings!r});"
        "YOLO(m.trainer.best).val(data=m.trainer.args.data, imgsz=32, plots=False);"
        "assert 'yolo_attn' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.contract("validates")
@pytest.mark.slow
def test_a_checkpoint_validates_alike_with_ultralytics_class(trained, scenes, tmp_path):
    settings = {"data": str(scenes), "imgsz": 32, "plots": False, "project": str(tmp_path)}
    ours, theirs = (float(y(trained.trainer.best).val(**settings).box.map) for y in (ya.YOLO, ultralytics.YOLO))
    assert 0 <= ours == theirs <= 1


@pytest.mark.contract("predicts")
@pytest.mark.slow
def test_a_checkpoint_predicts_on_a_file_and_on_an_array_alike(trained, scenes):
    file = next((scenes.parent / "images" / "val").glob("*.jpg"))
    model = ya.YOLO(trained.trainer.best)
    ways = (str(file), cv2.imread(str(file)))
    boxes = [model.predict(way, imgsz=64, conf=0.0001, verbose=False)[0].boxes.data for way in ways]
    assert len(boxes[0])
    assert torch.equal(*boxes)


@pytest.mark.contract("opens elsewhere")
@pytest.mark.slow
def test_a_restricted_load_takes_our_blocks(trained, monkeypatch):
    from ultralytics.nn import tasks

    with restricted_loads() as able:
        if not able:
            pytest.skip("this Ultralytics or torch has no restricted loading")
    loaded, _ = tasks.torch_safe_load(str(trained.trainer.best), safe_only=True)
    assert isinstance(loaded["model"].model[17], ya.ATTENTION_BLOCKS["ELA"])


@pytest.mark.contract("trains")
def test_pretrained_weights_reach_their_rows_in_training(scenes, base_weights, tmp_path):
    """At the first batch every base row holds the checkpoint's tensors; nc differs from the checkpoint's."""
    found = {}

    def compare(trainer):
        base = ultralytics.YOLO(base_weights).model
        report = transfer_weights(trainer.model, base)  # again, onto the model as training starts: nothing may change
        found["missing"] = [r.name for r in report.missing]
        found["same"] = torch.equal(base.model[24 - 2].cv1.conv.weight, trainer.model.model[24].cv1.conv.weight)

    model = ya.YOLO("yolo11n-ela.yaml")
    model.add_callback("on_train_start", lambda trainer: found.update(before=_state(trainer.model)))
    model.add_callback("on_train_start", compare)
    model.add_callback("on_train_start", lambda trainer: found.update(after=_state(trainer.model)))
    model.train(pretrained=str(base_weights), data=str(scenes), project=str(tmp_path), **TINY)
    assert found["same"]
    assert found["missing"] == ["Detect"]
    changed = [k for k in found["before"] if not torch.equal(found["before"][k], found["after"][k])]
    assert not changed


def _state(model):
    return {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("model.26.")}


@pytest.mark.slow
def test_loading_then_training_starts_from_what_was_loaded(scenes, base_weights, tmp_path):
    found = {}
    model = ya.YOLO("yolo11n-ca-backbone.yaml").load(base_weights)
    model.add_callback("on_train_start", lambda trainer: found.update(_state(trainer.model)))
    model.train(data=str(scenes), project=str(tmp_path), **TINY)
    stem = ultralytics.YOLO(base_weights).model.model[0].conv.weight
    assert torch.equal(found["model.0.conv.weight"], stem)


# --- only the attention trains ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def frozen(scenes, base_weights, tmp_path_factory):
    """Blocks after rows and inside others, trained for an epoch with the base frozen; the state before and after."""
    folder = tmp_path_factory.mktemp("frozen")
    made = ya.insert("yolo11n.yaml", "CA", at="neck:P3", init="identity")
    made = ya.insert(made.yaml, "SE", inside="C3k2", at="backbone", init="identity")
    seen = {}

    def remember(trainer):
        seen["before"] = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        seen["trains"] = {k for k, p in trainer.model.named_parameters() if p.requires_grad}

    model = ya.YOLO(made.save(folder / "yolo11n-both.yaml"))
    model.add_callback("on_train_start", remember)
    settings = {
        **TINY,
        "epochs": 2,
        "lr0": 0.1,
        "warmup_epochs": 0,
        "nbs": 8,
        "data": str(scenes),
        "project": str(folder),
    }
    model.train(pretrained=str(base_weights), freeze="base", **settings)
    seen["trainer"] = model.trainer
    seen["after"] = {k: v.clone() for k, v in model.trainer.model.state_dict().items()}
    return seen


@pytest.mark.contract("freezes the base")
def test_freezing_the_base_trains_the_attention_only(frozen, base_weights):
    """And the class layers, whose number of classes differs from the weights'; the base keeps its batch statistics."""
    new = {k for k in frozen["before"] if k.startswith("model.17.") or "attention" in k.split(".")}
    unfilled = _not_in(base_weights, frozen["before"])
    scores = {k for k in frozen["before"] if re.match(r"model\.24\.cv3\.\d\.2\.", k)}
    assert scores <= unfilled
    assert all(k.startswith("model.24.cv3.") for k in unfilled)
    parameters = {k for k, _ in frozen["trainer"].model.named_parameters()}
    assert frozen["trains"] == (new | unfilled) & parameters
    changed = {k for k, v in frozen["after"].items() if not torch.equal(v, frozen["before"][k])}
    assert changed <= new | unfilled, sorted(changed - new - unfilled)[:5]
    assert scores <= changed
    blocks = {re.match(r"model\.17|.*\.attention", k)[0] for k in new}
    assert len(blocks) == 7
    still = [b for b in blocks if not any(k.startswith(f"{b}.") for k in changed & parameters)]
    assert not still


def _not_in(base_weights, state):
    """Return the tensors of the head's layers that have another shape in the base; its width may depend on nc."""
    base = ultralytics.YOLO(base_weights).model.state_dict()
    head = {k: base[k.replace("model.24.", "model.23.", 1)] for k in state if k.startswith("model.24.")}
    layers = {k.rpartition(".")[0] for k, v in head.items() if v.shape != state[k].shape}
    return {k for k in head if k.rpartition(".")[0] in layers}


def test_what_is_frozen_is_stored_for_resuming(frozen):
    stored = torch.load(frozen["trainer"].last, weights_only=False)["train_args"]["freeze"]
    assert isinstance(stored, list)
    assert {"0", "2.cv1", "2.m.0.cv2.conv"} <= set(stored)
    assert not any(layer.startswith("17") for layer in stored)


@pytest.mark.slow
def test_workers_of_a_multi_gpu_training_freeze_the_same(base_weights, scenes, tmp_path):
    """They get the arguments of the parent's trainer, and a model: what is frozen has to stand in the arguments."""
    model = ya.YOLO("yolo11n-ela.yaml")
    settings = {**TINY, "data": str(scenes), "project": str(tmp_path), "freeze": "base", "model": "yolo11n-ela.yaml"}
    parent = model.task_map["detect"]["trainer"](overrides=settings)
    parent.model = parent.get_model(cfg=model.model.yaml, weights=ultralytics.YOLO(base_weights).model)
    worker = type(parent)(overrides={**vars(parent.args), "save_dir": ""})
    worker.model = parent.model
    worker._setup_train()
    frozen = {k for k, p in worker.model.named_parameters() if not p.requires_grad}
    assert "model.0.conv.weight" in frozen
    assert not [k for k in frozen if re.match(r"model\.(17|21|25)\.|.*cv3\.\d\.2\.", k)]


@pytest.mark.slow
def test_every_single_parameter_can_be_frozen(base_weights):
    """A2C2f has a parameter of its own, which Ultralytics' list of layers cannot name."""
    from yolo_attn.train.freeze import attention_parameters, base_layers

    stock = ya.YOLO("yolo12x.yaml").model
    model = ya.YOLO("yolo12x.yaml").model.__class__(ya.insert("yolo12x.yaml", "SE", inside="A2C2f").yaml, verbose=False)
    layers = base_layers(model, transfer_weights(model, stock))
    frozen = {k for k, _ in model.named_parameters() if any(f"{k}.".startswith(f"model.{x}.") for x in layers)}
    assert "model.6.gamma" in frozen
    assert frozen == {k for k, _ in model.named_parameters()} - attention_parameters(model)


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        ("yolo11n.yaml", {"freeze": "base"}, "this model has none"),
        ("yolo11n-ela.yaml", {"freeze": "base", "pretrained": False}, "give pretrained="),
        ("yolo11n-ela.yaml", {"freeze": "bass"}, "unknown freeze 'bass'. Did you mean 'base'"),
    ],
)
def test_a_freeze_that_makes_no_sense(model, settings, says, scenes, base_weights, tmp_path):
    settings = {"pretrained": str(base_weights), **TINY, **settings}
    with pytest.raises(ya.YoloAttnError, match=says):
        ya.YOLO(model).train(data=str(scenes), project=str(tmp_path), **settings)


@pytest.mark.slow
def test_blocks_inside_survive_training_and_resuming(frozen, scenes, tmp_path):
    """Train on from the checkpoint with everything free: attention and base start from what was trained."""
    found = {}
    model = ya.YOLO(frozen["trainer"].last)
    saved = {k: v.clone().float() for k, v in model.model.state_dict().items()}
    model.add_callback(
        "on_train_start", lambda t: found.update({k: v.clone() for k, v in t.model.state_dict().items()})
    )
    model.add_callback("on_train_start", lambda t: found.update(free=all(p.requires_grad for p in _learnable(t.model))))
    model.train(data=str(scenes), project=str(tmp_path), **TINY)
    assert found.pop("free")
    different = [k for k, v in saved.items() if not torch.equal(found[k].float(), v)]
    assert not different


def _learnable(model):
    return [p for k, p in model.named_parameters() if ".dfl" not in k]


@pytest.mark.parametrize(("handed", "remembered"), [(True, False), (False, True)])
def test_loaded_weights_are_named_to_workers_that_get_no_model(handed, remembered, base_weights, monkeypatch):
    """An older Ultralytics has the workers of a multi-GPU training build the model from what is named."""
    monkeypatch.setattr(yolo, "workers_receive_model", lambda: handed)
    model = ya.YOLO("yolo11n-ela.yaml").load(base_weights)
    assert model.overrides.get("pretrained") == (str(base_weights) if remembered else None)


def test_a_name_with_rtdetr_opens_as_one(tmp_path):
    made = ya.insert("rtdetr-l.yaml", "SE", at="neck:all")
    model = ya.YOLO(made.save(tmp_path / "rtdetr-l-se.yaml"))
    assert type(model.model).__name__ == "RTDETRDetectionModel"
    assert isinstance(model, yolo.WeightTransferMixin)
    assert "RTDETRTrainer" in [cls.__name__ for cls in model.task_map["detect"]["trainer"].__mro__]


@pytest.mark.slow
def test_a_trainer_class_is_found_by_its_name():
    """As a worker process of a multi-GPU training looks for it, by import or by unpickling."""
    import importlib
    import pickle

    trainer = ya.YOLO("yolo11n-ela.yaml").task_map["detect"]["trainer"]
    assert issubclass(trainer, RowTransferMixin)
    assert getattr(importlib.import_module(trainer.__module__), trainer.__name__) is trainer
    assert pickle.loads(pickle.dumps(trainer)) is trainer
    code = f"from {trainer.__module__} import {trainer.__name__} as T; print(*[cls.__name__ for cls in T.__mro__])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DetectionTrainer" in done.stdout.split(), done.stderr


def test_every_task_has_such_a_trainer():
    model = ya.YOLO("yolo11n-ela.yaml")
    assert {"detect", "segment", "classify", "pose", "obb"} <= set(model.task_map)
    for task, parts in model.task_map.items():
        assert issubclass(parts["trainer"], RowTransferMixin), task


def test_a_model_that_turns_into_an_rtdetr_keeps_weights_too():
    assert isinstance(ya.YOLO("rtdetr-l.yaml", task="detect"), yolo.WeightTransferMixin)


@pytest.mark.parametrize("settings", [{"pretrained": "none.pt"}, {"data": "none.yaml"}])
def test_what_is_missing_is_said_before_anything_is_written(settings, scenes, tmp_path):
    model = ya.YOLO("yolo11n-ela.yaml")
    with pytest.raises(ya.YoloAttnError, match="none"):
        model.train(**{"data": str(scenes), **TINY, "project": str(tmp_path / "out"), **settings})
    assert not (tmp_path / "out").exists()


def test_a_data_yaml_whose_images_are_missing(tmp_path):
    data = tmp_path / "data.yaml"
    data.write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: {{0: car}}\n")
    with pytest.raises(ya.YoloAttnError, match="images/val"):
        check_data(data)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu_with_amp_and_compile(scenes, base_weights, tmp_path):
    model = ya.YOLO("yolo11n-ca.yaml")
    model.train(pretrained=str(base_weights), data=str(scenes), project=str(tmp_path), compile=True, amp=True, **TINY)
