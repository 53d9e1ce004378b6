"""Drawn scenes: the same seed gives the same set, boxes are those of the pixels, and only complete sets count."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_attn.demo.scenes import SIDES, Scene, draw_scene, make_scenes
from yolo_attn.demo.shapes import SHAPES, Part, clutter
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


def plain(seed: int, size: int = 160) -> Scene:
    """Return a scene on a flat grey ground."""
    scene = Scene(size, np.random.default_rng(seed))
    scene.image[:] = 128
    return scene


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
    names = {s.category_id: name for name, s in SHAPES.items()}
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
            assert a["iscrowd"] in (0, 1), a
    picture = cv2.imread(str(scenes / "images/val/000001.jpg"))
    assert picture.shape == (SIZE, SIZE, 3)


def test_every_class_and_size_occurs_and_crowds_and_empty_images_do_too(scenes):
    content = load(scenes)
    single = [a for a in content["annotations"] if not a["iscrowd"]]
    counts = Counter(a["category_id"] for a in single)
    assert set(counts) == {s.category_id for s in SHAPES.values()}
    assert max(counts.values()) < 2 * min(counts.values())
    sides = np.array([max(a["bbox"][2:]) for a in single]) / SIZE
    assert (sides < 0.12).any()
    assert ((sides > 0.2) & (sides < 0.3)).any()
    assert (sides > 0.5).any()
    assert sides.max() < SIDES[1] * 2**0.5
    assert 1 <= sum(a["iscrowd"] for a in content["annotations"]) < 0.1 * TRAIN
    assert 1 <= TRAIN - len({a["image_id"] for a in content["annotations"]}) < 0.15 * TRAIN


def test_train_and_val_share_no_image(scenes):
    train, val = ({p.read_bytes() for p in (scenes / "images" / s).iterdir()} for s in ("train", "val"))
    assert len(train) == TRAIN
    assert len(val) == VAL
    assert not train & val


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_the_box_is_that_of_the_pixels_the_object_changed(name, seed):
    scene = plain(seed)
    shape = SHAPES[name]
    number = scene.paint(
        shape.draw(scene.rng), np.array([70.0, 85.0]), 90.0, scene.rng.uniform(-shape.tilt, shape.tilt)
    )
    changed = np.abs(scene.image - 128).max(2) > 1
    x, y, w, h = cv2.boundingRect(changed.astype(np.uint8))
    box, area = scene.box([number])
    assert np.abs(np.subtract(box, (x, y, w, h))).max() <= 2  # antialiased edges are wider than the object
    assert area == pytest.approx(changed.sum(), rel=0.12)


@pytest.mark.parametrize("name", SHAPES)
def test_objects_fill_their_unit_square(name):
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = np.concatenate([part.points for part in SHAPES[name].draw(rng)])
        assert np.abs(points).max() <= 0.5 + 1e-9
        assert np.ptp(points, axis=0).max() > 0.85
        assert np.abs(np.concatenate([part.points for part in clutter(rng)])).max() < 0.8


def test_a_covered_object_shrinks_to_what_is_seen_and_clutter_owns_nothing():
    scene = plain(0)
    square = [Part(np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]))]
    low = scene.paint(square, np.array([50.0, 50.0]), 40.0, 0)  # x 30..70
    high = scene.paint(square, np.array([70.0, 50.0]), 40.0, 0)  # x 50..90
    assert np.abs(np.subtract(scene.box([low])[0], (30, 30, 20, 41))).max() <= 1
    assert np.abs(np.subtract(scene.box([high])[0], (50, 30, 41, 41))).max() <= 1
    assert np.abs(np.subtract(scene.box([low, high])[0], (30, 30, 61, 41))).max() <= 1
    assert scene.paint(square, np.array([70.0, 50.0]), 60.0, 0, counts=False) == 0
    assert scene.box([high]) == ([0, 0, 0, 0], 0)


def test_nearly_hidden_objects_have_no_annotation(monkeypatch):
    # every scene again, with the owner map kept: an annotation needs more than the promised share of its object
    kept = []
    monkeypatch.setattr(Scene, "photograph", lambda self: kept.append(self))
    for seed in range(150):
        _, annotations = draw_scene(128, np.random.default_rng(seed))
        scene = kept[-1]
        visible = np.bincount(scene.owner.ravel(), minlength=len(scene.painted) + 1)[1:]
        share = visible / np.array(scene.painted)
        if not any(a["iscrowd"] for a in annotations):
            assert len(annotations) == (share > 0.35).sum(), seed
            assert sorted(a["area"] for a in annotations) == sorted(visible[share > 0.35]), seed


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
    assert len(lines) == sum(not a["iscrowd"] for a in content["annotations"])
    assert {int(line.split()[0]) for line in lines} == set(range(len(SHAPES)))
