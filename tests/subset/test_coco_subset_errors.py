"""COCO-format sets that are missing, broken or odd, and wrong requests: each is one clear sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.coco_source import LABELS, TRAIN, labels, message, write_source

from yolo_attn.subset.convert import convert_coco


@pytest.fixture
def source(tmp_path) -> Path:
    return write_source(tmp_path / "quelle mit ü")


def test_missing_things_are_named(source, tmp_path):
    out = tmp_path / "out"
    assert "does not exist" in message(tmp_path / "nowhere", out)
    assert "it holds quelle mit ü" in message(tmp_path, out)
    (source / "images" / "train" / "empty.jpg").unlink()
    (source / "images" / "train" / "b.jpg").unlink()
    text = message(source, out)
    assert "2 of 3 train images are missing" in text
    assert "b.jpg" in text
    (source / "annotations" / "instances_val.json").rename(source / "annotations" / "captions_val.json")
    text = message(source, out)
    assert "no instances_val*.json" in text
    assert "captions_val.json" in text
    assert not out.exists()


def test_two_candidates_are_ambiguous_and_the_exact_name_wins(source, tmp_path):
    folder = source / "annotations"
    shutil.copy(folder / "instances_train.json", folder / "instances_train2017.json")
    shutil.copy(folder / "instances_train.json", folder / "instances_trainval2014.json")
    assert labels(convert_coco(source, tmp_path / "out").parent) == LABELS
    (folder / "instances_train.json").rename(folder / "instances_train2014.json")
    text = message(source, tmp_path / "out2")
    assert "several train sets (instances_train2014.json, instances_train2017.json)" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps(TRAIN)[:-40], "not valid JSON"),
        ("", "not valid JSON"),
        ("[]", "holds a list"),
        ('{"images": [], "annotations": []}', "'categories'"),
        ('{"images": [1], "annotations": [], "categories": []}', "'images'"),
        (json.dumps({**TRAIN, "categories": []}), "names no categories"),
        (json.dumps({**TRAIN, "categories": [{"id": 1}]}), "no 'name'"),
        (json.dumps({**TRAIN, "images": []}), "lists no images"),
        (json.dumps({**TRAIN, "images": [{"file_name": "b.jpg"}]}), "no 'id'"),
        (json.dumps({**TRAIN, "images": [{"id": 11}]}), "no 'file_name'"),
        (json.dumps({**TRAIN, "images": [{"id": 11, "file_name": "b.jpg"}], "annotations": []}), "no 'width'"),
        (json.dumps({**TRAIN, "annotations": [{"image_id": 11, "category_id": 5}]}), "no 'bbox'"),
        (json.dumps({**TRAIN, "annotations": [{"image_id": 11, "category_id": 5, "bbox": [1, 2]}]}), "malformed"),
        (json.dumps({**TRAIN, "annotations": [{"image_id": 99, "category_id": 5, "bbox": [1, 2, 3, 4]}]}), "unknown"),
        (json.dumps({**TRAIN, "annotations": [{"image_id": 11, "category_id": 3, "bbox": [1, 2, 3, 4]}]}), "unknown"),
        (
            json.dumps({**TRAIN, "annotations": [], "categories": [{"id": 2, "name": "dog"}]}),
            "different categories, the first being 'car'",
        ),
    ],
)
def test_a_broken_json_is_one_clear_sentence(source, tmp_path, text, said):
    (source / "annotations" / "instances_train.json").write_text(text, encoding="utf-8")
    found = message(source, tmp_path / "out")
    assert said in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": ' + "[" * 100_000, "recursion"),
        ('{"info": ' + "[" * 100_000, "recursion"),
        (json.dumps(TRAIN) + "]", "not valid JSON, perhaps cut short: Extra data near ']'"),
        (
            json.dumps(TRAIN).replace('"width": ', '"width": "wide", "w": ', 1),
            "could not convert string to float: 'wide'",
        ),
        (json.dumps({**TRAIN, "images": {"id": 11}}), "it has no list of objects 'images'"),
        (json.dumps({**TRAIN, "annotations": [[1, 2]]}), "it has no list of objects 'annotations'"),
    ],
)
def test_a_hostile_or_odd_json_is_one_clear_sentence(source, tmp_path, text, said):
    (source / "annotations" / "instances_train.json").write_text(text, encoding="utf-8")
    assert said in message(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_json_that_is_no_text_is_said(source, tmp_path):
    (source / "annotations" / "instances_train.json").write_bytes(json.dumps(TRAIN).encode().replace(b"b.jpg", b"\xff"))
    assert "is not valid JSON: it is not UTF-8 text" in message(source, tmp_path / "out")


def test_a_malformed_entry_is_quoted(source, tmp_path):
    broken = {"image_id": 11, "category_id": 5, "bbox": [1, 2, 3], "segmentation": [[1, 2]]}
    text = json.dumps({**TRAIN, "annotations": [broken]})
    (source / "annotations" / "instances_train.json").write_text(text, encoding="utf-8")
    found = message(source, tmp_path / "out")
    assert "has a malformed entry in 'annotations' (not enough values to unpack" in found
    assert "'image_id': 11" in found


def test_numbers_that_are_no_boxes_are_dropped(tmp_path):
    boxes = [[float("nan"), 0, 5, 5], [0, 0, float("nan"), 5], [50, 10, -20, 10], [1, 1, 1e-9, 4]]
    annotations = [{"image_id": 11, "category_id": 5, "bbox": box} for box in boxes]
    source = write_source(tmp_path / "coco", {**TRAIN, "annotations": annotations})
    assert labels(convert_coco(source, tmp_path / "out").parent)["b"] == []


def test_two_images_of_one_label_file_are_refused(tmp_path):
    images = [{**TRAIN["images"][0], "file_name": n, "id": i} for i, n in enumerate(("x.jpg", "x.png"))]
    source = write_source(tmp_path / "coco", {**TRAIN, "images": images, "annotations": []})
    assert "share the label file x.txt" in message(source, tmp_path / "out")


def test_wrong_requests_say_what_is_allowed(source, tmp_path):
    out = tmp_path / "out"
    text = message(source, out, classes=["traffic lihgt"])
    assert "Did you mean 'traffic light'?" in text
    assert "Allowed: traffic light, car, cup" in text
    assert "unknown class 'ca'" in message(source, out, classes="ca")  # a bare name is one name
    assert "classes is empty" in message(source, out, classes=[])
    assert "1 to 3 of them, not 4" in message(source, out, images=4)
    assert "not 0" in message(source, out, images=0)
    assert "1 to 1 of them, not 2" in message(source, out, val_images=2)
    assert "seed must be a whole number of at least 0, not -1" in message(source, out, seed=-1)


def test_an_unwritable_place_is_said(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "cannot write" in message(source, tmp_path / "file" / "out")

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert message(source, tmp_path / "out") == f"cannot write {tmp_path / 'out'}: Permission denied."
