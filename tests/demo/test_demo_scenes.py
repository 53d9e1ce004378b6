"""Drawn scenes: the same seed gives the same set, boxes are those of the pixels, and only complete sets count."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_attn.demo import scenes as module
from yolo_attn.demo.scenes import CLASSES, SIDES, draw_scene, make_scenes
from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.convert import convert_coco

SIZE, TRAIN, VAL = 128, 240, 40


def load(root: Path, split: str = "train") -> dict:
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text(encoding="utf-8"))


def snapshot(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("demo") / "scenes", train=TRAIN, val=VAL, size=SIZE)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first = snapshot(make_scenes(tmp_path / "a", train=6, val=3, size=96, seed=5))
    assert first == snapshot(make_scenes(tmp_path / "b", train=6, val=3, size=96, seed=5))
    other = snapshot(make_scenes(tmp_path / "c", train=6, val=3, size=96, seed=6))
    assert not set(first.values()) & set(other.values())


def test_an_image_does_not_depend_on_how_many_are_drawn(tmp_path):
    few, many = (make_scenes(tmp_path / str(n), train=n, val=2, size=96) for n in (3, 6))
    for name in ("000001.jpg", "000003.jpg"):
        assert (few / "images/train" / name).read_bytes() == (many / "images/train" / name).read_bytes()
    assert load(many)["annotations"][: len(load(few)["annotations"])] == load(few)["annotations"]


def test_files_and_json_agree_with_coco_layout(scenes):
    names = {k: name for name, k in CLASSES.items()}
    ids = sorted(names)
    assert ids == list(names)  # the table is in the order of the ids, as the conversion's class numbers are
    assert ids != list(range(ids[0], ids[0] + len(ids)))
    for split, count in (("train", TRAIN), ("val", VAL)):
        content = load(scenes, split)
        assert set(content) == {"info", "images", "annotations", "categories"}
        assert {c["id"]: c["name"] for c in content["categories"]} == names
        assert [i["file_name"] for i in content["images"]] == [f"{k:06d}.jpg" for k in range(1, count + 1)]
        assert sorted(p.name for p in (scenes / "images" / split).iterdir()) == [
            i["file_name"] for i in content["images"]
        ]
        assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"])
        for a in content["annotations"]:
            x, y, w, h = a["bbox"]
            assert min(x, y) >= 0, a
            assert max(x + w, y + h) <= SIZE, a
            assert 0 < a["area"] <= w * h, a
            assert a["category_id"] in names, a
            assert a["iscrowd"] == 0, a
    picture = cv2.imread(str(scenes / "images/val/000001.jpg"))
    assert picture.shape == (SIZE, SIZE, 3)


def test_every_class_and_size_occurs_and_empty_images_do_too(scenes):
    content = load(scenes)
    counts = Counter(a["category_id"] for a in content["annotations"])
    assert set(counts) == set(CLASSES.values())
    assert max(counts.values()) < 2 * min(counts.values())
    sides = np.array([max(a["bbox"][2:]) for a in content["annotations"]]) / SIZE
    assert (sides < 0.15).any()
    assert ((sides > 0.2) & (sides < 0.3)).any()
    assert (sides > 0.35).any()
    assert sides.max() < SIDES[1] + 2 / SIZE
    assert 1 <= TRAIN - len({a["image_id"] for a in content["annotations"]}) < 0.2 * TRAIN


def test_train_and_val_share_no_image(scenes):
    train, val = ({p.read_bytes() for p in (scenes / "images" / s).iterdir()} for s in ("train", "val"))
    assert len(train) == TRAIN
    assert len(val) == VAL
    assert not train & val


@pytest.mark.parametrize("seed", range(12))
def test_a_box_is_that_of_the_pixels_that_stand_out(seed):
    """Found in the picture alone: the connected regions that differ from the ground by more than it varies itself."""
    image, annotations = draw_scene(256, np.random.default_rng(seed))
    ground = np.median(image.reshape(-1, 3), 0)
    apart = (np.abs(image - ground).sum(2) > 150).astype(np.uint8)
    _, _, regions, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(apart, cv2.MORPH_OPEN, np.ones((3, 3))))
    found = sorted(region.tolist() for region in regions[1:] if region[4] > 100)
    drawn = sorted([*a["bbox"], a["area"]] for a in annotations)
    assert len(found) == len(drawn)
    for seen, box in zip(found, drawn, strict=True):
        assert np.abs(np.subtract(seen[:4], box[:4])).max() <= 4
        assert seen[4] == pytest.approx(box[4], rel=0.12)


def test_a_class_is_told_by_how_much_of_its_box_it_fills(scenes):
    """A disc fills pi / 4 of its box; a square, turned, from a half to all; a triangle at most about a half."""
    share = {k: [] for k in CLASSES.values()}
    for a in load(scenes)["annotations"]:
        if min(a["bbox"][2:]) > 20:
            share[a["category_id"]].append(a["area"] / (a["bbox"][2] * a["bbox"][3]))
    assert np.allclose(share[CLASSES["disc"]], np.pi / 4, atol=0.06)
    assert 0.45 < min(share[CLASSES["square"]]) < max(share[CLASSES["square"]]) <= 1
    assert max(share[CLASSES["triangle"]]) < 0.62


def test_objects_do_not_touch(monkeypatch):
    masks = []
    drawn = module._mask
    monkeypatch.setattr(module, "_mask", lambda *args: masks.append(drawn(*args)) or masks[-1])
    kept = 0
    for seed in range(60):
        masks.clear()
        _, annotations = draw_scene(96, np.random.default_rng(seed))
        boxes = [a["bbox"] for a in annotations]
        shown = [m for m in masks if list(cv2.boundingRect(m)) in boxes]
        assert len(shown) == len(annotations)
        assert np.sum(shown, axis=0, initial=0).max() <= 1
        kept += len(annotations) < len(masks)
    assert kept  # some were left out, because they would have touched


def test_a_complete_set_is_reused_and_another_one_is_refused(tmp_path):
    root = tmp_path / "s"
    make_scenes(root, train=2, val=1, size=64)
    before = (root / "scenes.json").stat().st_mtime_ns
    calls = []
    assert make_scenes(root, train=2, val=1, size=64, progress=lambda *a: calls.append(a)) == root
    assert not calls
    assert (root / "scenes.json").stat().st_mtime_ns == before
    with pytest.raises(YoloAttnError, match=r"other parameters \(size 64 there, 96 now\)"):
        make_scenes(root, train=2, val=1, size=96)


def test_an_interrupted_run_is_never_taken_for_complete(tmp_path):
    root = tmp_path / "s"

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scenes(root, train=4, val=2, size=64, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    calls = []
    make_scenes(root, train=4, val=2, size=64, progress=lambda *a: calls.append(a))
    assert calls == [(k, 6) for k in range(1, 7)]
    (root / "images/val/000002.jpg").unlink()
    with pytest.raises(YoloAttnError, match="damaged: images/val has 1 of 2 files"):
        make_scenes(root, train=4, val=2, size=64)
    (root / "scenes.json").unlink()
    with pytest.raises(YoloAttnError, match=r"no valid scenes\.json"):
        make_scenes(root, train=4, val=2, size=64)


@pytest.mark.parametrize("wrong", [{"train": 0}, {"val": 0}, {"size": 16}, {"seed": -1}, {"train": 2.5}, {"val": True}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(YoloAttnError, match=f"{next(iter(wrong))} must be a whole number"):
        make_scenes(tmp_path / "s", **{"train": 1, "val": 1, "size": 64, **wrong})


def test_scenes_convert_to_a_yolo_set(scenes, tmp_path):
    out = convert_coco(scenes, tmp_path / "yolo").parent
    content = load(scenes)
    lines = [line for p in (out / "labels/train").iterdir() for line in p.read_text().splitlines()]
    assert len(lines) == len(content["annotations"])
    assert {int(line.split()[0]) for line in lines} == set(range(len(CLASSES)))
