"""Conversion of COCO-format sets: hand-computed numbers, a recomputation on real data, and every error."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from support.paths import SHARED

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset import convert
from yolo_attn.subset.choice import Choice
from yolo_attn.subset.convert import convert_coco
from yolo_attn.util.build_once import build_once

REAL = SHARED / "data" / "coco3k"

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


@pytest.fixture
def source(tmp_path) -> Path:
    return write_source(tmp_path / "quelle mit ü")


def message(source: Path, out: Path, **wanted) -> str:
    with pytest.raises(YoloAttnError) as caught:
        convert_coco(source, out, Choice(**wanted))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_and_yaml_are_the_hand_computed_ones(source, tmp_path):
    out = tmp_path / "neu é 集"
    path = convert_coco(source, out)
    assert path == out / "data.yaml"
    assert labels(out) == LABELS
    assert labels(out, "val") == {"v": ["1 0.500000 0.500000 0.500000 0.500000"]}
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert data == {
        "path": str(out),
        "train": "images/train",
        "val": "images/val",
        "names": {0: "traffic light", 1: "car", 2: "cup"},
    }
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(str(source) in line for line in comments)
    assert any("train: 3 images, 4 boxes" in line for line in comments)


def test_relative_paths(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = convert_coco(Path(source.name), Path("here"))
    assert path == tmp_path / "here" / "data.yaml"
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["path"] == str(tmp_path / "here")
    assert (path.parent / "images" / "train" / "b.jpg").is_file()


def test_images_are_links_to_the_source(source, tmp_path):
    out = convert_coco(source, tmp_path / "out").parent
    for name in ("b.jpg", "a é.png", "empty.jpg"):
        link = out / "images" / "train" / name
        assert link.is_symlink()
        assert link.samefile(source / "images" / "train" / name)


def test_images_are_copied_where_links_are_impossible(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    copied = convert_coco(source, tmp_path / "out").parent / "images" / "train" / "b.jpg"
    assert not copied.is_symlink()
    assert copied.read_bytes() == (source / "images" / "train" / "b.jpg").read_bytes()


@pytest.mark.parametrize(
    ("year", "folder"), [("", "images/{}"), ("2017", "{}"), ("2017", "images/{}"), ("", "{}"), ("2017", "images")]
)
def test_every_usual_layout_is_found(tmp_path, year, folder):
    source = write_source(tmp_path / "coco", json_year=year, folder=folder)
    assert labels(convert_coco(source, tmp_path / "out").parent) == LABELS


def test_file_names_with_folders(tmp_path):
    images = [{**image, "file_name": f"day{i}/x.jpg"} for i, image in enumerate(TRAIN["images"])]
    source = write_source(tmp_path / "coco", {**TRAIN, "images": images})
    assert labels(convert_coco(source, tmp_path / "out").parent) == {
        "day0_x": LABELS["b"],
        "day1_x": LABELS["a é"],
        "day2_x": [],
    }


def test_classes_are_reindexed_by_category_id_and_other_images_stay(source, tmp_path):
    path = convert_coco(source, tmp_path / "out", Choice(classes=("cup", "car")))
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["names"] == {0: "car", 1: "cup"}
    assert labels(path.parent) == {
        "b": [LABELS["b"][0].replace("1 ", "0 ", 1), LABELS["b"][1].replace("2 ", "1 ", 1)],
        "a é": [LABELS["a é"][1].replace("2 ", "1 ", 1)],
        "empty": [],
    }
    other_order = Choice(classes=("car", "cup"))
    assert convert_coco(source, tmp_path / "out", other_order) == path


def test_samples_are_seeded_nested_and_independent_of_the_json_order(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 4, "height": 4} for i in range(1, 41)]
    train = {"images": images, "annotations": [], "categories": CATEGORIES}
    source = write_source(tmp_path / "coco", train)
    shuffled = write_source(tmp_path / "shuffled", {**train, "images": images[::-1]})

    def names(source, **kwargs):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        return set(labels(convert_coco(source, out, Choice(sampling="random", **kwargs)).parent))

    ten = names(source, images=10, seed=3)
    assert len(ten) == 10
    assert ten == names(shuffled, images=10, seed=3)
    assert ten < names(source, images=20, seed=3)
    assert ten != names(source, images=10, seed=4)
    assert names(source, val_images=1) == {str(i) for i in range(1, 41)}


def test_the_same_again_is_reused_and_anything_else_is_refused(source, tmp_path):
    out = tmp_path / "out"
    path = convert_coco(source, out, Choice(images=2))
    before = path.stat().st_mtime_ns
    (out / "labels" / "train.cache").write_bytes(b"written by a training")
    assert convert_coco(source, out, Choice(images=2)) == path
    assert path.stat().st_mtime_ns == before
    text = message(source, out, images=3)
    assert "other parameters (images 2 there, 3 now)" in text
    assert str(out) in text
    annotations = source / "annotations" / "instances_val.json"
    annotations.write_text(json.dumps({**VAL, "annotations": []}), encoding="utf-8")
    assert "other parameters (annotations" in message(source, out, images=2)


def test_a_damaged_result_is_not_reused(source, tmp_path):
    out = convert_coco(source, tmp_path / "out").parent
    (out / "labels" / "train" / "b.txt").unlink()
    assert "damaged: labels/train has 2 of 3 files" in message(source, out)


def test_links_whose_target_is_gone_are_damage(source, tmp_path):
    out = convert_coco(source, tmp_path / "out").parent
    (source / "images" / "val" / "v.jpg").unlink()
    assert "damaged: images/val has 0 of 1 files" in message(source, out)


def test_a_folder_of_someone_else_is_left_alone(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    convert_coco(source, out)  # empty: ours to fill
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    assert "was not made by this command" in message(source, other)
    assert "not a folder" in message(source, other / "thesis.txt")
    assert (other / "thesis.txt").read_text() == "precious"


def test_an_interrupted_conversion_leaves_nothing(source, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    parent = tmp_path / "results"
    with monkeypatch.context() as patch:
        patch.setattr(convert, "_write_yaml", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert_coco(source, parent / "out")
    assert list(parent.iterdir()) == []
    assert labels(convert_coco(source, parent / "out").parent) == LABELS


def test_what_a_killed_run_leaves_is_never_taken_for_complete(source, tmp_path):
    out = tmp_path / "out"
    convert_coco(source, out)
    (out / "subset.json").unlink()  # as if the rename had come before the end
    assert "no valid subset.json" in message(source, out)
    (out / "subset.json").write_text('{"parameters": {"sour')
    assert "no valid subset.json" in message(source, out)


def test_two_processes_at_once_agree(tmp_path):
    out, parameters = tmp_path / "out", {"a": 1}

    def slow(folder: Path) -> None:
        build_once(out, "m.json", parameters, lambda f: (f / "x").write_text("faster"))
        (folder / "x").write_text("slower")

    assert build_once(out, "m.json", parameters, slow) == out
    assert (out / "x").read_text() == "faster"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


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


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real COCO subset in ../shared/data/coco3k")
def test_real_coco_labels_match_an_independent_recomputation(tmp_path):
    path = convert_coco(REAL, tmp_path / "out")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert len(data["names"]) == 80
    assert data["names"][0] == "person"
    assert data["names"][79] == "toothbrush"
    for split, count in (("train", 2076), ("val", 600)):
        content = json.loads((REAL / "annotations" / f"instances_{split}.json").read_text())
        ids = np.array(sorted(c["id"] for c in content["categories"]))
        size = {i["id"]: (i["width"], i["height"], Path(i["file_name"]).stem) for i in content["images"]}
        rows = [(a["image_id"], a["category_id"], *a["bbox"]) for a in content["annotations"] if not a["iscrowd"]]
        image, category, *box = np.array(rows, float).T
        w, h = np.array([size[int(i)][:2] for i in image]).T
        x1, x2 = np.clip(box[0] / w, 0, 1), np.clip((box[0] + box[2]) / w, 0, 1)
        y1, y2 = np.clip(box[1] / h, 0, 1), np.clip((box[1] + box[3]) / h, 0, 1)
        truth = np.stack([np.searchsorted(ids, category), (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
        written = labels(path.parent, split)
        assert len(written) == count == len(os.listdir(path.parent / "images" / split))
        for number, (_, _, stem) in size.items():
            mine = truth[image == number]
            mine = np.unique(mine[(mine[:, 3] > 0) & (mine[:, 4] > 0)].round(6), axis=0)
            theirs = np.array([line.split() for line in written[stem]], float).reshape(-1, 5)
            assert len(theirs) == len(mine), stem
            gap = np.abs(theirs[:, None] - mine[None]).max(2)  # every box has its counterpart
            assert (gap.min(0, initial=9) < 2e-6).all(), stem
            assert (gap.min(1, initial=9) < 2e-6).all(), stem
