"""Files of COCO predictions are matched as Ultralytics matches, whatever their image ids and category ids."""

import json

import numpy as np
import pytest

import yolo_attn as ya
from yolo_attn.compare.host import coco_ids
from yolo_attn.compare.predictions_json import read_predictions
from yolo_attn.evaluate.comparison import compare_arms
from yolo_attn.host.data import Labelled


def labels(classes, images=12, each=4, name="{:012}.jpg"):
    """Images with boxes of every class, none of them overlapping."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(images):
        corner = np.arange(each)[:, None] * [100.0, 0.0] + rng.uniform(0, 20, (each, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(20, 70, (each, 2))], 1)
        made.append(Labelled(name.format(3 * k + 1), (k * each + np.arange(each)) % classes, boxes))
    return made


def entries(images, ids, noise=0.0, key=lambda image: int(image.name[:-4])):
    """A prediction for every label, shifted by ``noise`` of its width."""
    rng = np.random.default_rng(1)
    made = []
    for image in images:
        for cls, (left, top, right, bottom) in zip(image.cls, image.boxes, strict=True):
            left, width = left + noise * rng.uniform() * (right - left), right - left
            made.append({
                "image_id": key(image), "category_id": ids[cls], "bbox": [left, top, width, bottom - top],
                "score": float(rng.uniform(0.3, 1)),
            })  # fmt: skip
    return made


@pytest.fixture
def read(tmp_path):
    def reading(content, images, number, **settings):
        file = tmp_path / "predictions.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_predictions(file, images, number, settings)

    return reading


@pytest.mark.parametrize(
    ("classes", "ids", "as_read"),
    [
        (80, range(80), "0 to 79"),
        (80, range(1, 81), "1 to 80"),
        (80, coco_ids(), "COCO's, up to 90"),
        (3, range(3), "0 to 2"),
        (3, range(1, 4), "1 to 3"),
        (1, [0], "0 to 0"),
        (1, [1], "1 to 1"),
    ],
)
def test_category_ids_are_recognised(read, classes, ids, as_read):
    images = labels(classes, images=24)
    found = read(entries(images, list(ids)), images, classes)
    assert found.facts["category_ids"] == as_read
    assert found.evaluated.metrics["mAP50-95"] > 0.99
    assert found.evaluated.matches.correct.all()


def test_category_ids_that_may_be_either_are_told_by_the_labels(read):
    images = labels(2, images=6)  # classes 0 and 1 of 4
    found = read(entries(images, [1, 2]), images, 4)
    assert found.facts["category_ids"] == "1 to 4"
    assert "24 boxes lie on a label of their class, otherwise at most 0" in found.facts["why"]
    nowhere = [{"image_id": 1, "category_id": 1, "bbox": [900, 900, 5, 5], "score": 0.5}]
    with pytest.raises(ya.YoloAttnError, match="say category_ids=zero or one"):
        read(nowhere, images, 4)
    assert read(nowhere, images, 4, category_ids="one").facts["why"] == "as given"
    with pytest.raises(ya.YoloAttnError, match="cannot be coco91 with 4 classes"):
        read(nowhere, images, 4, category_ids="coco91")
    with pytest.raises(ya.YoloAttnError, match="neither 0 to 3, nor 1 to 4"):
        read(entries(images, [1, 9]), images, 4)


@pytest.mark.parametrize(
    "key",
    [lambda i: int(i.name[:-4]), lambda i: i.name[:-4], lambda i: i.name, lambda i: f"val/{i.name}"],
    ids=["number", "stem", "name", "path"],
)
def test_images_are_found_by_number_stem_or_name(read, key):
    images = labels(3)
    assert read(entries(images, [0, 1, 2], key=key), images, 3).evaluated.metrics["mAP50-95"] > 0.99


def test_values_are_those_of_boxes_matched_by_hand(read):
    images = labels(3)
    found = read(entries(images, [0, 1, 2], noise=0.5), images, 3).evaluated
    shift = found.boxes.boxes[:, 0] - found.boxes.target_boxes[found.matches.target[:, 0].clip(0), 0]
    width = found.boxes.boxes[:, 2] - found.boxes.boxes[:, 0]
    overlap = (width - shift) / (width + shift)
    expected = overlap[:, None] >= np.linspace(0.5, 0.95, 10)
    assert np.array_equal(found.matches.correct[found.matches.correct[:, 0]], expected[found.matches.correct[:, 0]])
    assert 0.2 < found.matches.correct.mean() < 0.9
    both = compare_arms({"a": [found.matches], "b": [read(entries(images, [0, 1, 2]), images, 3).evaluated.matches]})
    assert both.arms["b"].differences["mAP50-95"].estimate > 0.1


def test_score_number_and_classes_are_limited_as_in_a_validation(read):
    images = labels(3, images=2)
    content = entries(images, [0, 1, 2])
    content += [{**content[0], "bbox": [800, 800, 9, 9], "score": score} for score in (0.0005, 0.002, 0.2)]
    facts = read(content, images, 3).facts
    assert (facts["detections"], facts["lowest_score"]) == (11, 0.0005)
    count = lambda **settings: len(read(content, images, 3, **settings).evaluated.matches.cls)  # noqa: E731
    assert (count(), count(conf=0.1), count(max_det=4), count(classes=[1])) == (10, 9, 8, 3)
    one = read(content, images, 3, single_cls=True).evaluated.matches
    assert set(one.cls) == {0}


def test_what_cannot_be_read_is_named(read):
    images = labels(3)
    good = entries(images, [0, 1, 2])

    def told(content):
        with pytest.raises(ya.YoloAttnError) as error:
            read(content, images, 3)
        return str(error.value)

    assert "is not JSON" in told('[{"image_id": 1')
    assert "is an object with images, annotations; predictions are a list" in told({"images": [], "annotations": []})
    assert "entry 48: no 'score'" in told([*good, {k: v for k, v in good[0].items() if k != "score"}])
    assert "entry 0: is no object" in told([3])
    assert "bbox [1, 2, 3] is not left, top, width, height" in told([{**good[0], "bbox": [1, 2, 3]}])
    assert "is not left, top, width, height" in told([{**good[0], "bbox": [1, 2, -3, 4]}])
    assert "score 'high' is not a number" in told([{**good[0], "score": "high"}])
    unknown = told([*good, {**good[0], "image_id": 2}, {**good[0], "image_id": "x.jpg"}])
    assert "2 of 14 image ids are not of this validation set of 12 images: 2, x.jpg" in unknown
    empty = read([], images, 3)
    assert (empty.facts["images_without"], empty.evaluated.metrics["mAP50-95"]) == (12, 0.0)
