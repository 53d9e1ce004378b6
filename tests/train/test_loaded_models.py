"""A model keeps of the weights it loaded: its file, errors by type, fused models, reset weights."""

from __future__ import annotations

import pytest
import torch
import ultralytics

import yolo_attn as ya

CHECKPOINT = {
    "epoch": 4,
    "best_fitness": 0.5,
    "optimizer": {"state": {}, "param_groups": []},
    "ema": None,
    "updates": 7,
    "train_args": {"imgsz": 96, "epochs": 9, "data": "mine.yaml"},
    "train_results": {"epoch": [1, 2, 3, 4, 5]},
}
FOR_TRAINING = ("epoch", "best_fitness", "optimizer", "updates")
TRAIN = {"epochs": 1, "imgsz": 32, "batch": 8, "plots": False, "workers": 0, "val": False, "device": "cpu"}


@pytest.fixture(scope="module")
def files(tiny_models, tmp_path_factory):
    """Checkpoints of a training not yet complete: of the tiny model, and of the one with attention."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = [folder / "base.pt", folder / "attention.pt"]
    for yaml_file, file in zip(tiny_models, made, strict=True):
        torch.save({**CHECKPOINT, "model": ya.YOLO(yaml_file).model}, file)
    return made


def saved(model, path):
    model.save(path)
    return torch.load(path, weights_only=False)


# --- the checkpoint's other content -----------------------------------------------------------------------------------
@pytest.mark.parametrize("arm", [0, 1], ids=["base", "attention"])
def test_a_model_is_saved_with_the_rest_of_its_checkpoint(arm, files, tiny_models, tmp_path):
    """With the same rows all of it, as by Ultralytics."""
    theirs = ultralytics.YOLO(tiny_models[arm]).load(str(files[arm]))
    ours = ya.YOLO(tiny_models[arm]).load(files[arm])
    wanted, found = saved(theirs, tmp_path / "theirs.pt"), saved(ours, tmp_path / "ours.pt")
    assert found.keys() == wanted.keys()
    assert {k: found[k] for k in CHECKPOINT} == {k: wanted[k] for k in CHECKPOINT} == CHECKPOINT
    assert ours.ckpt_path == theirs.ckpt_path == str(files[arm])


@pytest.mark.parametrize("arms", [(0, 1), (1, 0)], ids=["into attention", "out of attention"])
def test_the_training_of_a_model_with_other_rows_cannot_be_resumed(arms, files, tiny_models, tmp_path):
    given, taken = arms
    found = saved(ya.YOLO(tiny_models[taken]).load(files[given]), tmp_path / "saved.pt")
    assert [found[k] for k in FOR_TRAINING] == [-1, None, None, None]
    assert {k: found[k] for k in ("train_args", "train_results")} == {
        k: CHECKPOINT[k] for k in ("train_args", "train_results")
    }


def test_a_model_given_as_weights_brings_no_checkpoint(tiny_models, tmp_path):
    for package in (ultralytics, ya):
        model = package.YOLO(tiny_models[0]).load(ultralytics.YOLO(tiny_models[0]).model)
        assert model.ckpt_path is None
        assert model.ckpt.keys() == {"model"}


# --- errors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("attention", [0, 1], ids=["base", "attention"])
def test_missing_weights_and_data_are_the_errors_of_ultralytics(attention, tiny_models, scenes, tmp_path):
    model = ya.YOLO(tiny_models[attention])
    for attempt in (
        lambda: model.load("none.pt"),
        lambda: model.train(data=str(scenes), pretrained="none.pt", project=str(tmp_path), **TRAIN),
        lambda: ya.transfer_weights(model, "none.pt"),
        lambda: ya.YOLO("none.pt"),
    ):
        with pytest.raises(FileNotFoundError, match="none"):
            attempt()
    with pytest.raises(RuntimeError, match="none"):
        model.train(data="none.yaml", project=str(tmp_path), **TRAIN)
    for attempt in (model.load, lambda file: ultralytics.YOLO(tiny_models[0]).load(file)):
        with pytest.raises(AssertionError, match="none"):
            attempt("none.onnx")


# --- fused ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_fused_model_trains_as_by_ultralytics(files, scenes, tmp_path):
    found = []
    for package in (ultralytics, ya):
        model = package.YOLO(files[0])
        model.fuse()
        model.add_callback(
            "on_train_start", lambda trainer: found.append(trainer.model.state_dict()["model.0.conv.weight"].clone())
        )
        model.train(data=str(scenes), project=str(tmp_path), **TRAIN)
    assert torch.equal(*found)


def test_a_fused_model_with_attention_is_named_itself(files, scenes, tmp_path):
    model = ya.YOLO(files[1])
    model.fuse()
    with pytest.raises(ya.YoloAttnError, match=r"this model was fused for inference, e.g. by fuse\(\).*attention\.pt'"):
        model.train(data=str(scenes), project=str(tmp_path), **TRAIN)
    with pytest.raises(ya.YoloAttnError, match=r"the given model \('.*attention\.pt'\) is fused"):
        ya.YOLO(files[1]).load(model)


# --- reset ------------------------------------------------------------------------------------------------------------
def test_reset_blocks_are_identities_again(tmp_path):
    base = ya.insert("yolo11n.yaml", "CA", inside="C3k2", init="identity").yaml
    made = ya.insert(base, [("ELA", "neck:P3"), ("NL", "neck:P5")], init="identity")
    model = ya.YOLO(made.save(tmp_path / "yolo11n-many.yaml"))
    stem = model.model.model[0].conv.weight
    before = stem.detach().clone()
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(0.1).requires_grad_(False)
    assert model.reset_weights() is model
    blocks = [m for m in model.model.modules() if type(m) in ya.ATTENTION_BLOCKS.values()]
    assert len(blocks) > 3
    for block in blocks:
        x = torch.rand(1, block.channels, 5, 4)
        assert torch.equal(block.eval()(x), x), block
    assert not torch.equal(stem, before)
    assert all(parameter.requires_grad for parameter in model.model.parameters())
    assert model.overrides["pretrained"] is False


# --- a comparison -----------------------------------------------------------------------------------------------------
def test_a_comparison_refuses_weights_of_another_architecture_for_every_arm(tmp_path):
    from yolo_attn.host.model import load_model_dict
    from yolo_attn.train.yolo import check_model_dict

    other = tmp_path / "yolov8n.pt"
    ya.YOLO("yolov8n.yaml").save(other)
    for arm in ("yolo11n.yaml", "yolo11n-ela.yaml"):
        with pytest.raises(ya.YoloAttnError, match="another architecture or scale"):
            check_model_dict(arm, load_model_dict(arm), str(other))
    assert check_model_dict("yolov8n.yaml", load_model_dict("yolov8n.yaml"), str(other)) == "detect"
