"""Finished trainings of rotated boxes, poses and RT-DETR are compared by their boxes, as Ultralytics validates."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from support.fake_runs import FakeExecutor, results
from ultralytics import RTDETR, YOLO
from ultralytics.utils import nms

import yolo_attn as ya
from yolo_attn import cli
from yolo_attn.compare import driver, finished_run, run_folder
from yolo_attn.compare.finished import compare_finished
from yolo_attn.errors import YoloAttnError

HEADS = {
    "obb": ["OBB", ["nc", 1]],
    "pose": ["Pose", ["nc", [3, 3]]],
    "detect": ["RTDETRDecoder", ["nc", 32, 20, 4, 4, 1]],  # of RT-DETR, whose task it is
}

SIDE = 256  # boxes of random weights span 15 cells, 120 pixels at stride 8
IMAGES = 3
KINDS = {"obb": YOLO, "pose": YOLO, "detect": RTDETR}


def write_set(root, task):
    """Write some images with two filled boxes each, labelled for a task; return the data YAML."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(IMAGES):
            image = np.zeros((SIDE, SIDE, 3), np.uint8)
            rows = [_object(image, cls, task, rng) for cls in (0, 1)]
            image = cv2.add(image, rng.integers(0, 60, image.shape, dtype=np.uint8))  # no two places are equal
            cv2.imwrite(str(root / "images" / split / f"{i}.jpg"), image)
            (root / "labels" / split / f"{i}.txt").write_text("".join(rows))
    content = {"path": str(root), "train": "images/train", "val": "images/val", "names": {0: "a", 1: "b"}}
    (root / "data.yaml").write_text(yaml.safe_dump({**content, **({"kpt_shape": [3, 3]} if task == "pose" else {})}))
    return root / "data.yaml"


def _object(image, cls, task, rng):
    (x, y), (w, h) = rng.uniform(0.3, 0.7, 2), rng.uniform(0.2, 0.4, 2)
    left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    corners = [tuple(int(SIDE * value) for value in corner) for corner in ((left, top), (right, bottom))]
    cv2.rectangle(image, *corners, (190, 190 * cls, 0), -1)
    numbers = [x, y, w, h]
    if task == "obb":
        numbers = [left, top, right, top, right, bottom, left, bottom]
    elif task == "pose":
        numbers += [value for k in range(3) for value in (left + k * w / 2, y, 2)]
    return " ".join([str(cls), *(f"{float(number):.4f}" for number in numbers)]) + "\n"


def write_checkpoints(folder, task, data):
    """Write a checkpoint of a tiny model, and one of the same with attention, both with random weights."""
    files = []
    for name, row in (("plain", [-1, 1, "Conv", [128, 1, 1]]), ("ela", [-1, 1, "ELA", [{"init": "paper"}]])):
        rows = [*([-1, 1, "Conv", [8 * 2**k, 3, 2]] for k in range(5)), row]
        content = {"nc": 2, "backbone": rows, "head": [[[2, 3, 5], 1, *HEADS[task]]]}
        file = folder / f"{'rtdetr-' if task == 'detect' else ''}{name}.yaml"
        file.write_text(yaml.safe_dump({**content, **({"kpt_shape": [3, 3]} if task == "pose" else {})}))
        torch.manual_seed(0)
        model = RTDETR(str(file)).model if task == "detect" else ya.YOLO(str(file), task=task).model
        model.names, model.task = {0: "a", 1: "b"}, task
        args = {"imgsz": SIDE, "epochs": 3, "data": str(data), "task": task}
        files.append(folder / f"{name}.pt")
        torch.save({"model": model.half(), "train_args": args, "epoch": -1}, files[-1])
    return files


def label_as_found(checkpoint, task, data):
    """Label the validation images with what a model finds in them, so that some of it is right."""
    model = KINDS[task](checkpoint)
    for image in sorted((data.parent / "images" / "val").iterdir()):
        (found,) = model.predict(image, imgsz=SIDE, conf=1e-5, device="cpu", verbose=False)
        held = found.obb if task == "obb" else found.boxes
        numbers = held.xyxyxyxyn.flatten(1) if task == "obb" else held.xywhn
        if task == "pose":
            seen = torch.full_like(found.keypoints.xyn[..., :1], 2)
            numbers = torch.cat([numbers, torch.cat([found.keypoints.xyn, seen], 2).flatten(1)], 1)
        corners = held.xyxyxyxyn.flatten(1) if task == "obb" else held.xyxyn
        inside = ((corners > 0.01) & (corners < 0.99)).all(1)
        rows = zip(held.cls[inside].int().tolist(), numbers[inside].tolist(), strict=True)
        lines = [" ".join([str(cls), *(f"{number:.6f}" for number in row)]) for cls, row in list(rows)[:5]]
        (data.parent / "labels" / "val" / f"{image.stem}.txt").write_text("\n".join(lines) + "\n")


class InThisProcess(FakeExecutor):
    """Evaluates checkpoints without a process for each."""

    def carry_out(self, folders, tick):
        for folder in folders:
            finished_run.evaluate(folder, run_folder.read_spec(folder))
            yield folder, None


@pytest.mark.slow
@pytest.mark.parametrize("task", HEADS)
def test_the_map_is_that_of_ultralytics(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(driver, "executor_of", lambda *_: InThisProcess())
    monkeypatch.setattr("yolo_attn.report.plots.draw", lambda _: {})
    monkeypatch.setattr(nms, "time", SimpleNamespace(time=lambda: 0.0))  # Ultralytics drops images if it takes long
    data = write_set(tmp_path / "set", task)
    files = write_checkpoints(tmp_path, task, data)
    label_as_found(files[0], task, data)
    out, settings = tmp_path / "out", {"imgsz": SIDE, "conf": 1e-5, "rect": False}
    assert compare_finished(files, out, settings=settings, device="cpu", speed_seconds=0) == []
    assert (results(out)["runs"]["planned"], results(out)["runs"]["complete"]) == (2, 2)
    assert results(out)["data"]["images"] == IMAGES
    assert results(out)["data"]["targets"] > IMAGES
    for file, arm in zip(files, results(out)["arms"], strict=True):
        wanted = KINDS[task](file).val(
            data=str(data), batch=16, device="cpu", plots=False, project=str(tmp_path), **settings
        )
        (folder,) = (out / "runs").glob(f"{arm['name']}-seed0-*")
        stored = json.loads((folder / run_folder.RESULT).read_text())["metrics"]["mAP50-95"]
        assert stored == pytest.approx(wanted.box.map, abs=1e-9)
        assert arm["metrics"]["mAP50-95"]["mean"] == pytest.approx(stored, abs=2e-5)  # some confidences are equal
        assert arm["parameters"] > 0
    assert results(out)["arms"][0]["metrics"]["mAP50-95"]["mean"] > 0.01
    assert cli.main(["report", str(out), "--ap", "coco", "--replicates", "20"]) == (2 if task == "obb" else 0)
    said = capsys.readouterr().err
    assert ("--ap coco is not possible" in said and "rotated boxes" in said) == (task == "obb")


def test_tasks_are_not_mixed(tmp_path):
    made = {}
    for task in ("obb", "pose"):
        (tmp_path / task).mkdir()
        made[task] = write_checkpoints(tmp_path / task, task, write_set(tmp_path / task / "set", task))
    with pytest.raises(YoloAttnError, match=r"models for different tasks cannot be compared.*'obb'.*'pose'"):
        compare_finished({"a": made["obb"][0], "b": made["pose"][0]}, tmp_path / "out")
    with pytest.raises(YoloAttnError, match="cannot be used for the task 'obb': OBB dataset requires"):
        compare_finished(made["obb"], tmp_path / "out", data=str(tmp_path / "pose" / "set" / "data.yaml"))
    assert not (tmp_path / "out").exists()
