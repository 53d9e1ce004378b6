"""``benchmark`` of a model, with attention or without, gives what Ultralytics' does."""

import shutil

import pytest
import torch
import ultralytics
import yaml

import yolo_attn as ya

TIMES = ("Inference time (ms/im)", "FPS")
METRIC = "metrics/mAP50-95(B)"


@pytest.fixture
def base(tiny_models, tmp_path):
    """A checkpoint of the tiny model without attention, with random weights."""
    torch.manual_seed(2)
    model = ultralytics.YOLO(tiny_models[0])
    head = model.model.model[-1]
    for boxes, classes in zip(head.cv2, head.cv3, strict=True):
        torch.nn.init.normal_(classes[-1].bias)
        boxes[-1].bias.data.view(4, head.reg_max)[:, 1] = 10  # a box is two strides wide
    model.save(tmp_path / "base.pt")
    return tmp_path / "base.pt"


@pytest.fixture
def data(base, scenes, tmp_path):
    """Data YAML of a set whose objects are what the base model finds."""
    (tmp_path / "labels").mkdir()
    shutil.copytree(scenes.parent / "images" / "val", tmp_path / "images")
    for result in ultralytics.YOLO(base)(tmp_path / "images", imgsz=64, max_det=4, stream=True):
        result.save_txt(tmp_path / "labels" / f"{result.path.rpartition('/')[2].rpartition('.')[0]}.txt")
    content = {"path": str(tmp_path), "train": "images", "val": "images", "names": {k: str(k) for k in range(80)}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "data.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("attention", [False, True])
def test_a_benchmark_is_that_of_the_base_model(attention, base, data, tiny_models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where exported files go
    ours = ya.YOLO(tiny_models[attention])
    ours.load(base)
    ours.save("ours.pt")
    asked = {"data": str(data), "imgsz": 64, "format": "torchscript", "device": "cpu"}
    expected = ultralytics.YOLO(base).benchmark(**asked)
    found = ya.YOLO("ours.pt").benchmark(**asked)
    assert found.columns == expected.columns
    different = [name for name in found.columns if name in TIMES or name.startswith("Size")]
    assert found.drop(different).to_dicts() == expected.drop(different).to_dicts()
    assert [float(row[METRIC]) > 0.05 for row in expected.to_dicts()] == [True]
