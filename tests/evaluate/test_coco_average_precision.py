"""COCO's AP against faster-coco-eval, a reimplementation of pycocotools, also on repeated images."""

import numpy as np
import pytest

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.bootstrap import resample
from yolo_attn.evaluate.coco_ap import Boxes
from yolo_attn.evaluate.comparison import compare_arms

NAMES = ("mAP50-95", "AP50", "AP75", "APs", "APm", "APl")


def scattered(seed, images=12, classes=3, targets=80, detections=400):
    """Targets of all sizes; detections near them, doubled ones, and others anywhere."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 400, (targets, 2))
    side = np.exp(rng.uniform(np.log(8), np.log(250), (targets, 2)))
    target_boxes = np.concatenate([corner, corner + side], axis=1)
    target_image, target_cls = rng.integers(0, images, targets), rng.integers(0, classes, targets)
    near = rng.integers(0, targets, detections)
    moved = target_boxes[near] + rng.normal(0, 0.12, (detections, 4)) * np.tile(side[near], 2)
    far = rng.random(detections) < 0.2
    return Boxes(
        images=images,
        image=np.where(far, rng.integers(0, images, detections), target_image[near]),
        cls=np.where(far, rng.integers(0, classes, detections), target_cls[near]),
        confidence=rng.random(detections),
        boxes=np.concatenate([np.minimum(moved[:, :2], moved[:, 2:] - 1), moved[:, 2:]], axis=1),
        target_image=target_image,
        target_cls=target_cls,
        target_boxes=target_boxes,
        target_area=side.prod(1) * rng.uniform(0.5, 1, targets),
    )


def faster_coco_eval(boxes, counts):
    """Evaluate with each image repeated as often as it was drawn, and return the six figures."""
    coco = pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval: pip install 'yolo-attn[coco]'")
    copies = [int(i) for i in np.repeat(np.arange(boxes.images), counts)]
    annotations, found = [], []
    for number, image in enumerate(copies, 1):
        for g in np.flatnonzero(boxes.target_image == image):
            left, top, right, bottom = boxes.target_boxes[g].tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(boxes.target_cls[g]) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float(boxes.target_area[g]),
                    "iscrowd": 0,
                }
            )
        for d in np.flatnonzero(boxes.image == image):
            left, top, right, bottom = boxes.boxes[d].tolist()
            box, category = [left, top, right - left, bottom - top], int(boxes.cls[d]) + 1
            score = float(boxes.confidence[d])
            found.append({"image_id": number, "category_id": category, "bbox": box, "score": score})
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": n, "width": 700, "height": 700} for n in range(1, len(copies) + 1)],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(int(boxes.target_cls.max()) + 1)],
        "annotations": annotations,
    }
    truth.createIndex()
    evaluation = coco.COCOeval_faster(truth, truth.loadRes(found), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats[:6], strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_equals_faster_coco_eval_on_all_images_and_on_repeated_ones(seed):
    images = 3 if seed == 11 else 12
    boxes = scattered(seed, images=images, classes=1 + seed % 3, targets=30 if seed % 2 else 120)
    draws = np.random.default_rng(seed).multinomial(images, [1 / images] * images, size=2)
    ours = resample(boxes, draws)
    for replicate, counts in enumerate([np.ones(images, int), *draws]):
        theirs = faster_coco_eval(boxes, counts)
        for name in ours.metrics:
            ap = np.nan_to_num(ours.metrics[name][replicate], nan=-1)  # COCO's word for "no such target"
            assert ap == pytest.approx(theirs[name], abs=1e-9), (name, replicate)


def test_the_hundred_most_confident_count():
    """A hundred wrong detections before the right one keep it from counting; of ninety-nine it is the hundredth."""
    for wrong, expected in ((100, 0.0), (99, 0.01)):
        boxes = Boxes(
            images=2,
            image=np.zeros(wrong + 1, int),
            cls=np.zeros(wrong + 1, int),
            confidence=np.linspace(0.9, 0.1, wrong + 1),
            boxes=np.array([[200, 200, 210, 210.0]] * wrong + [[0, 0, 50, 50.0]]),
            target_image=[0],
            target_cls=[0],
            target_boxes=[[0, 0, 50, 50.0]],
        )
        assert resample(boxes, np.ones((1, 2), int)).metrics["AP50"][0] == pytest.approx(expected)


def test_arms_are_compared_by_boxes_too(tmp_path):
    arms = {
        "base": [scattered(0), scattered(0)],
        "same": [scattered(0).save(tmp_path / "0.npz"), scattered(0).save(tmp_path / "1.npz")],
    }
    compared = compare_arms(arms, replicates=20, workers=1)
    assert set(compared.arms["same"].differences) == set(NAMES)
    found = compared.arms["same"].differences["mAP50-95"]
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_boxes_that_do_not_fit_together_are_refused():
    with pytest.raises(YoloAttnError, match=r"'boxes' has shape \(1, 3\)"):
        Boxes(1, [0], [0], [0.5], [[0, 0, 1]], [], [], np.zeros((0, 4)))
