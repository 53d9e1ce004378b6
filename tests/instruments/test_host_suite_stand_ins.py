"""Stand-ins for what the host's tests would download: drawn sets, videos, random weights, attention in all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics
from instruments.host_suite import clients, scenes, standins, weights
from instruments.host_suite.outcomes import (
    PASSED,
    Outcome,
)
from instruments.host_suite.runs import MODELS, PLAIN, Run, Suite

import yolo_attn as ya

# --- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    scenes.draw_sets(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "task"), [("coco8", "detect"), ("coco8-seg", "segment"), ("coco8-pose", "pose"), ("dota8", "obb")]
)
def test_the_host_reads_every_label_of_the_drawn_sets(drawn, name, task):
    from ultralytics.data.dataset import YOLODataset

    data = {"names": dict(enumerate("abc")), "kpt_shape": [17, 3], "flip_idx": list(range(17))}
    for split in ("train", "val"):
        images = YOLODataset(img_path=str(drawn / name / "images" / split), data=data, task=task, imgsz=64)
        labels = [label for label in images.labels if len(label["cls"]) == 3]
        assert len(labels) == scenes.IMAGES
        assert {"segment": bool(labels[0]["segments"]), "pose": labels[0]["keypoints"] is not None}.get(task, True)
        assert (labels[0]["bboxes"] > 0).all()


@pytest.mark.slow
def test_the_host_reads_drawn_masks_depths_and_classes(drawn):
    import cv2
    from ultralytics.data.dataset import ClassificationDataset, DepthDataset
    from ultralytics.utils import DEFAULT_CFG

    image = cv2.imread(str(drawn / "cityscapes8" / "images" / "val" / "0.png"))
    mask = cv2.imread(str(drawn / "cityscapes8" / "masks" / "val" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert image.shape[:2] == mask.shape
    assert {*np.unique(mask)} <= {*scenes.CITYSCAPES}
    depth = DepthDataset(
        img_path=str(drawn / "depth8-png" / "images" / "train"), data={"nc": 1, "names": {0: "depth"}}, imgsz=64
    )
    assert len(depth) == scenes.IMAGES
    assert 0.9 < depth._load_depth(0).min() < depth._load_depth(0).max() < 10.1
    assert len(ClassificationDataset(str(drawn / "imagenet10" / "train"), DEFAULT_CFG)) == 20
    ten = cv2.imreadmulti(str(next((drawn / "coco8-multispectral" / "images" / "train").iterdir())))
    assert len(ten[1]) == 10


def test_drawn_annotations_are_those_of_the_labels(drawn):
    from ultralytics.data.converter import convert_coco

    converted = drawn.parent / f"{drawn.name}-converted"
    convert_coco(str(drawn / "annotations"), save_dir=str(converted), use_segments=True, cls91to80=False)
    for file in (drawn / "coco8-seg" / "labels" / "val").glob("*.txt"):
        again = (converted / "labels" / "val2017" / file.name).read_text().splitlines()
        for line, other in zip(file.read_text().splitlines(), again, strict=True):
            np.testing.assert_allclose([*map(float, other.split())], [*map(float, line.split())], atol=1e-5)


def test_videos_of_the_solutions_open(tmp_path):
    import cv2

    scenes.draw_solution_assets(tmp_path)
    for name, (width, height) in scenes.SOLUTIONS.items():
        frames = []
        video = cv2.VideoCapture(str(tmp_path / name))
        while (read := video.read())[0]:
            frames.append(read[1])
        assert [frame.shape for frame in frames] == [(height, width, 3)] * scenes.FRAMES
        assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 1


@pytest.mark.slow
def test_random_weights_detect_something_and_attention_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "plain").mkdir()
    monkeypatch.setattr(weights, "copy_where_tests_look", lambda folder: None)
    torch.manual_seed(0)
    torch.save(weights.checkpoint("yolo26n-seg"), tmp_path / "plain" / "yolo26n-seg.pt")
    weights.make_attention(tmp_path / "plain", tmp_path / "attention", "ELA")
    plain, ours = (ultralytics.YOLO(tmp_path / kind / "yolo26n-seg.pt") for kind in ("plain", "attention"))
    assert sum(type(layer).__name__ == "ELA" for layer in ours.model.model) == 3
    assert ours.task == plain.task == "segment"
    expected, found = (model(clients.picture(), imgsz=96, verbose=False)[0] for model in (plain, ours))
    assert len(expected.boxes) > 1
    torch.testing.assert_close(found.boxes.data, expected.boxes.data, rtol=0, atol=0)
    assert found.names == expected.names
    assert expected.names[1] == "kind1"


@pytest.mark.parametrize("base", ["yolo11n.yaml", "yolo26n-cls.yaml", "yolo26n-sem.yaml", "yolov3-tiny.yaml"])
def test_models_without_the_usual_place_get_attention_elsewhere(base):
    made = weights.insert_first(base, "SE", weights.PLACES)
    assert len(made.new_rows) == (3 if base == "yolo11n.yaml" else 1)


def test_no_place_at_all_is_an_error():
    with pytest.raises(ya.YoloAttnError, match="no neck"):
        weights.insert_first("yolo11n-cls.yaml", "SE", ["neck:P3"])


def test_outcomes_of_plain_runs_are_kept_per_release_stand_ins_and_weights(tmp_path):
    given = tmp_path / "given.pt"
    given.write_bytes(b"1")
    one, other = (standins.StandIns(tmp_path, weights_, "ELA", []) for weights_ in (None, given))
    assert one.plain != other.plain
    assert standins.StandIns(tmp_path, None, "SE", ["sppf"]).plain == one.plain
    assert standins.StandIns(tmp_path, None, "SE", ["sppf"]).attention != one.attention


def test_a_plain_run_is_not_repeated(tmp_path, monkeypatch):
    ran = []
    suite = Suite(tmp_path, tmp_path, standins.StandIns(tmp_path, None, "ELA", []), Path(sys.executable))
    suite.stand_ins.plain.mkdir()
    monkeypatch.setattr(Suite, "_pytest", lambda self, run: ran.append(run) or {"t": Outcome(PASSED)})
    for _ in range(2):
        for run in (Run("test_cli", PLAIN), Run("test_cli", MODELS)):
            assert suite.outcomes(run) == {"t": Outcome(PASSED)}
    assert [run.replaces for run in ran] == [PLAIN, MODELS, MODELS]
