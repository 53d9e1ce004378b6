"""Recorded matches and boxes reproduce the metrics of Ultralytics and COCO."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.utils import nms

from yolo_attn.compare import host
from yolo_attn.evaluate.bootstrap import draw_images, resample
from yolo_attn.evaluate.recorder import matched_targets

THRESHOLDS = np.linspace(0.5, 0.95, 10)


def host_matching(overlap):
    """Match as Ultralytics 8.4 does, one threshold at a time: by confidence, each takes its best target still free."""
    correct = np.zeros((overlap.shape[1], len(THRESHOLDS)), bool)
    target = np.full(correct.shape, -1)
    for t, threshold in enumerate(THRESHOLDS):
        free = set(range(len(overlap)))
        for d in range(overlap.shape[1]):
            best = max(free, key=lambda g: overlap[g, d], default=None)
            if best is not None and overlap[best, d] >= threshold:
                free.remove(best)
                correct[d, t], target[d, t] = True, best
    return correct, target


def test_targets_are_those_of_the_host_s_matching():
    rng = np.random.default_rng(0)
    for trial in range(200):
        overlap = rng.uniform(0, 1, (rng.integers(1, 6), rng.integers(1, 12))) * (rng.uniform(size=1) < 0.95)
        correct, target = host_matching(overlap)
        assert np.array_equal(matched_targets(correct, overlap), target), trial


def test_no_targets_no_matches():
    assert matched_targets(np.zeros((3, 10), bool), None).tolist() == [[-1] * 10] * 3


@pytest.mark.parametrize("task", ["detect", "obb"])
def test_no_image_is_dropped_on_a_slow_machine(task, monkeypatch):
    """By a clock on which suppressing the boxes of an image takes an hour; the host's own validator drops images."""
    clock = SimpleNamespace(time=itertools.count(step=3600).__next__)
    predictions = torch.rand(3, 6 + (task == "obb"), 50, generator=torch.manual_seed(0))
    stock = YOLO.task_map.fget(None)[task]["validator"]
    found = {}
    for validator in (stock, host._recording(stock)):
        made = validator(args={"task": task, "conf": 0.01, "iou": 0.7, "device": "cpu"})
        made.nc, made.end2end = 2, False
        with monkeypatch.context() as patch:
            patch.setattr(nms, "time", clock)
            found[validator] = [len(image["conf"]) for image in made.postprocess(predictions)]
    assert found[stock][1:] == [0, 0]
    assert min(found[host._recording(stock)]) > 0


@pytest.fixture(scope="module")
def validated(pretrained, tmp_path_factory):
    """The real checkpoint on 60 real images, once recorded, once with Ultralytics' own JSON of predictions."""
    from support.paths import SHARED

    from yolo_attn.subset.choice import Choice
    from yolo_attn.subset.convert import convert_coco

    if not (SHARED / "data" / "coco3k").is_dir():
        pytest.skip("needs shared/data/coco3k beside the checkout")
    out = tmp_path_factory.mktemp("real")
    data = convert_coco(SHARED / "data" / "coco3k", out / "yolo", Choice(images=10, val_images=60))
    found = host.evaluate(pretrained, str(data), 160, {"device": "cpu", "batch": 16})
    stock = YOLO(pretrained).val(
        data=str(data), imgsz=160, batch=16, device="cpu", save_json=True, plots=False, project=str(out), name="val"
    )
    return found, stock, out


def test_map_is_that_of_a_stock_validation(validated):
    found, stock, _ = validated
    metrics = resample(found.matches, draw_images(found.matches.images, 2, 0)).metrics
    assert found.metrics["mAP50-95"] == stock.box.map > 0.05
    for name, own in (("mAP50-95", stock.box.map), ("AP50", stock.box.map50), ("AP75", stock.box.map75)):
        assert metrics[name][0] == pytest.approx(own, abs=1e-14), name


def test_coco_ap_is_that_of_the_host_s_predictions(validated):
    coco_eval = pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval: pip install 'yolo-attn[coco]'")
    found, _, out = validated
    boxes = found.boxes
    index = {name.rsplit(".", 1)[0]: k for k, name in enumerate(boxes.names)}
    predictions = json.loads((out / "val" / "predictions.json").read_text())
    for p in predictions:
        stem = p["file_name"].rsplit(".", 1)[0] if "file_name" in p else f"{p['image_id']:012}"
        p["image_id"] = index[stem]
    targets = [
        {"id": k + 1, "image_id": int(i), "category_id": int(c) + 1, "bbox": [x, y, r - x, b - y],
         "area": (r - x) * (b - y), "iscrowd": 0}
        for k, (i, c, (x, y, r, b)) in enumerate(
            zip(boxes.target_image, boxes.target_cls, boxes.target_boxes.astype(float).tolist(), strict=True))
    ]  # fmt: skip
    truth = coco_eval.COCO({
        "images": [{"id": k} for k in range(boxes.images)], "annotations": targets,
        "categories": [{"id": int(c) + 1} for c in np.unique(boxes.target_cls)],
    })  # fmt: skip
    evaluation = coco_eval.COCOeval_faster(truth, truth.loadRes(predictions), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    metrics = resample(boxes, draw_images(boxes.images, 2, 0)).metrics
    for k, name in enumerate(("mAP50-95", "AP50", "AP75", "APs", "APm", "APl")):
        # the JSON rounds boxes to 1/1000 px and confidences to 1/100,000
        assert metrics[name][0] == pytest.approx(evaluation.stats[k], abs=2e-3), name


def test_areas_are_in_pixels_of_the_files(validated):
    import cv2

    found, _, out = validated
    matches = found.matches
    sizes = {p.name: cv2.imread(str(p)).shape[:2] for p in (out / "yolo" / "images" / "val").iterdir()}
    for k, name in enumerate(matches.names):
        height, width = sizes[name]
        lines = (out / "yolo" / "labels" / "val" / f"{name.rsplit('.', 1)[0]}.txt").read_text().splitlines()
        wanted = sorted(float(w) * width * float(h) * height for _, _, _, w, h in (line.split() for line in lines))
        np.testing.assert_allclose(np.sort(matches.target_area[matches.target_image == k]), wanted, rtol=0.03, atol=3)


@pytest.mark.parametrize("task", ["seg", "pose", "obb"])
def test_other_tasks_with_boxes_are_recorded_too(task, tmp_path):
    """Untrained models find nothing much; what is recorded has to fit what Ultralytics computed all the same."""
    import cv2
    import torch
    import yaml
    from ultralytics import YOLO

    rng = np.random.default_rng(0)
    extra = {"seg": " 0.1 0.1 0.6 0.1 0.6 0.7 0.1 0.7", "obb": " 0.1 0.1 0.6 0.1 0.6 0.7 0.1 0.7"}
    points = " 0.3 0.3 2" * 17
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for k in range(4):
            picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / f"{k}.jpg"), picture)
            line = "0" + extra.get(task, " 0.35 0.4 0.5 0.6" + points) + "\n"
            (tmp_path / "labels" / split / f"{k}.txt").write_text(line)
    data = {"path": str(tmp_path), "train": "images/train", "val": "images/val", "names": {0: "thing"}}
    data |= {"kpt_shape": [17, 3]} if task == "pose" else {}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
    model = YOLO(f"yolo11n-{task}.yaml").model
    torch.save({"model": model, "train_args": {}}, tmp_path / "model.pt")
    found = host.evaluate(tmp_path / "model.pt", str(tmp_path / "data.yaml"), 64, {"device": "cpu", "conf": 0.0001})
    assert found.matches.images == 4
    np.testing.assert_allclose(found.matches.target_area, 0.5 * 64 * 0.6 * 48, rtol=0.05)
    assert (found.boxes is None) is (task == "obb")
