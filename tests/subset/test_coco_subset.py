"""Conversion of COCO-format sets: hand-computed numbers, a recomputation on real data, and what is reused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.coco_source import CATEGORIES, LABELS, TRAIN, VAL, labels, message, write_source
from support.paths import SHARED

from yolo_attn.subset import convert
from yolo_attn.subset.choice import Choice
from yolo_attn.subset.convert import convert_coco
from yolo_attn.util.build_once import build_once

REAL = SHARED / "data" / "coco3k"


@pytest.fixture
def source(tmp_path) -> Path:
    return write_source(tmp_path / "quelle mit ü")


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
