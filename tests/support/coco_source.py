"""A small set in COCO's format, with the labels that it should give."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.choice import Choice
from yolo_attn.subset.convert import convert_coco

CATEGORIES = [{"id": 9, "name": "cup"}, {"id": 2, "name": "traffic light"}, {"id": 5, "name": "car"}]  # unsorted, gaps
TRAIN = {
    "images": [
        {"id": 11, "file_name": "b.jpg", "width": 100, "height": 50},
        {"id": 7, "file_name": "a é.png", "width": 80, "height": 40},
        {"id": 20, "file_name": "empty.jpg", "width": 10, "height": 10},
    ],
    "annotations": [
        {"id": 1, "image_id": 11, "category_id": 5, "bbox": [10, 5, 20, 30], "iscrowd": 0},
        {"id": 2, "image_id": 11, "category_id": 9, "bbox": [-10, 40, 30, 20], "iscrowd": 0},  # over two edges
        {"id": 3, "image_id": 11, "category_id": 5, "bbox": [10, 5, 20, 30], "iscrowd": 0},  # duplicate of 1
        {"id": 4, "image_id": 11, "category_id": 2, "bbox": [0, 0, 100, 50], "iscrowd": 1},  # crowd
        {"id": 5, "image_id": 11, "category_id": 2, "bbox": [10, 10, 0, 5], "iscrowd": 0},  # no area
        {"id": 6, "image_id": 11, "category_id": 2, "bbox": [120, 10, 10, 5], "iscrowd": 0},  # outside
        {"id": 7, "image_id": 7, "category_id": 2, "bbox": [0, 0, 80, 40]},  # whole image; no iscrowd
        {"id": 8, "image_id": 7, "category_id": 9, "bbox": [1.5, 2.5, 3, 5], "iscrowd": 0},
    ],
    "categories": CATEGORIES,
}
VAL = {
    "images": [{"id": 1, "file_name": "v.jpg", "width": 20, "height": 20}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [5, 5, 10, 10], "iscrowd": 0}],
    "categories": CATEGORIES,
}
# class order by category id: 0 traffic light, 1 car, 2 cup
LABELS = {
    "b": ["1 0.200000 0.400000 0.200000 0.600000", "2 0.100000 0.900000 0.200000 0.200000"],
    "a é": ["0 0.500000 0.500000 1.000000 1.000000", "2 0.037500 0.125000 0.037500 0.125000"],
    "empty": [],
}


def write_source(
    root: Path, train: dict = TRAIN, val: dict = VAL, json_year: str = "", folder: str = "images/{}"
) -> Path:
    (root / "annotations").mkdir(parents=True)
    for split, content in (("train", train), ("val", val)):
        (root / "annotations" / f"instances_{split}{json_year}.json").write_text(json.dumps(content), encoding="utf-8")
        for image in content["images"]:
            path = root / folder.format(split + json_year) / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = np.full((image["height"], image["width"], 3), image["id"], np.uint8)
            path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return root


def labels(out: Path, split: str = "train") -> dict[str, list[str]]:
    return {p.stem: p.read_text().splitlines() for p in (out / "labels" / split).iterdir()}


def message(source: Path, out: Path, **wanted) -> str:
    with pytest.raises(YoloAttnError) as caught:
        convert_coco(source, out, Choice(**wanted))
    assert "\n" not in str(caught.value)
    return str(caught.value)
