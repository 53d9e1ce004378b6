"""The classes of models: which one opens a file, their signatures, and copies of them."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import shutil

import pytest
import torch
import ultralytics
import yaml
from support.tiers import sampled

import yolo_attn as ya
from yolo_attn.host.model import load_model_dict
from yolo_attn.train.yolo import WeightTransferMixin, run_host_command

KINDS = {
    "YOLO": "yolo11n.yaml",
    "RTDETR": "yolov8n-rtdetr.yaml",
    "YOLOWorld": "yolov8n-worldv2.yaml",
    "YOLOE": "yoloe-11n.yaml",
}
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A YAML and its checkpoint for each kind, under names that say nothing."""
    folder = tmp_path_factory.mktemp("kinds")
    made = {}
    for kind, base in KINDS.items():
        content = load_model_dict(base)
        made[kind] = [folder / f"{kind[::-1].lower()}{end}" for end in (".yaml", ".pt")]
        made[kind][0].write_text(yaml.safe_dump(content))
        getattr(ultralytics, kind)(made[kind][0]).save(made[kind][1])
    return made


# --- which class opens a file -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", sampled(KINDS, ["YOLO", "RTDETR"], "slow"))
def test_the_head_decides_and_not_the_name(kind, files):
    for file in files[kind]:
        model = ya.YOLO(file)
        assert type(model) is getattr(ya, kind)
        assert isinstance(model, getattr(ultralytics, kind))
        assert isinstance(model, WeightTransferMixin)
        assert type(model.model) is type(getattr(ultralytics, kind)(KINDS[kind]).model)


@pytest.mark.parametrize("name", ["my-rtdetr-rival", "hello-world", "not-yoloe"])
@pytest.mark.parametrize("arm", [0, 1], ids=["base", "attention"])
def test_a_detector_under_any_name_is_one(name, arm, tmp_path, tiny_models):
    shutil.copy(tiny_models[arm], tmp_path / f"{name}.yaml")
    ya.YOLO(tiny_models[arm]).save(tmp_path / f"{name}.pt")
    for file in (tmp_path / f"{name}.yaml", tmp_path / f"{name}.pt"):
        for opened in (ya.YOLO(file), ya.RTDETR(file)):  # Ultralytics' command line opens by the name
            assert type(opened) is ya.YOLO
            assert type(opened.model).__name__ == "DetectionModel"
            assert opened.predict(IMAGE, imgsz=64, verbose=False)[0].boxes is not None


@pytest.mark.parametrize("kind", KINDS)
def test_every_stock_name_opens_as_its_kind(kind):
    assert type(ya.YOLO(KINDS[kind])) is getattr(ya, kind)


@pytest.mark.slow
def test_the_command_opens_by_the_head(tmp_path, tiny_models):
    ya.YOLO(tiny_models[1]).save(tmp_path / "my-rtdetr-rival.pt")
    words = [f"model={tmp_path / 'my-rtdetr-rival.pt'}", "format=torchscript", "imgsz=64"]
    run_host_command(["export", *words])
    assert (tmp_path / "my-rtdetr-rival.torchscript").is_file()


def test_a_model_can_be_opened_from_another():
    theirs = ultralytics.YOLO("yolo11n-ela.yaml")
    assert ya.YOLO(theirs).model is theirs.model


# --- signatures -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_defaults_are_those_of_ultralytics(kind):
    ours, theirs = (inspect.signature(getattr(package, kind)).parameters for package in (ya, ultralytics))
    assert {name: p.default for name, p in ours.items()} == {name: p.default for name, p in theirs.items()}
    default = inspect.signature(getattr(ultralytics, kind).load).parameters["weights"].default
    assert inspect.signature(getattr(ya, kind).load).parameters["weights"].default == default


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_trains_with_weights_by_row(kind):
    for parts in getattr(ya, kind)(KINDS[kind]).task_map.values():
        assert "RowTransferMixin" in [cls.__name__ for cls in parts["trainer"].__mro__]


# --- copies -----------------------------------------------------------------------------------------------------------
def outputs(model):
    with torch.no_grad():
        found = model.model.eval()(IMAGE)
    return found[0] if isinstance(found, (tuple, list)) else found


@pytest.mark.parametrize("kind", sampled(["YOLO", "RTDETR", "YOLOE"], ["YOLO"], "slow"))
def test_copies_are_of_the_same_class_and_exact(kind, files):
    model = ya.YOLO(files[kind][1])
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again) is type(model)
        assert torch.equal(outputs(again), outputs(model))


def kind_and_sum(model):
    return type(model).__name__, float(outputs(model).sum())


@pytest.mark.slow
def test_other_processes_get_the_models(files):
    models = [ya.YOLO(files[kind][1]) for kind in ("YOLO", "RTDETR")]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(kind_and_sum, models) == [kind_and_sum(model) for model in models]
