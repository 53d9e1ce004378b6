"""Stored matches: round trip, damage, and matches of targets of one size."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from instruments.simulation import detect, make_scene
from support.random_matches import evaluated_again, random_matches

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.ap import average_precision
from yolo_attn.evaluate.bootstrap import load_evaluation
from yolo_attn.evaluate.coco_ap import THRESHOLDS, Boxes
from yolo_attn.evaluate.matches import SIZES, Matches


def sized(seed, images=20):
    rng = np.random.default_rng(seed)
    return detect(rng, make_scene(rng, images, 3, 8 * images), 25)


def assert_same(a, b):
    assert type(a) is type(b)
    for name, value in vars(a).items():
        if value is None or name in ("images", "names"):
            assert value == getattr(b, name), name
        else:
            np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)


@pytest.mark.parametrize("load", [Matches.load, load_evaluation])
def test_what_is_stored_comes_back(tmp_path, load):
    plain = random_matches(1, 9, 3, 70, 30)
    whole = sized(2, images=3)
    by_threshold = np.where(whole.correct, whole.target[:, None], -1)
    named = Matches(**{**vars(whole), "target": by_threshold, "names": ("a.jpg", "b ü.jpg", "c.png")})
    restricted = whole.restricted(*SIZES["small"])
    nothing = Matches(4, [], [], [], np.zeros((0, 10), bool), [], [])
    for record in (plain, whole, named, restricted, nothing):
        path = record.save(tmp_path / "run 1.npz")
        assert_same(record, load(path))
    assert [p.name for p in tmp_path.iterdir()] == ["run 1.npz"]


def test_a_large_record_is_small(tmp_path):
    matches = sized(3, images=400)
    size = matches.save(tmp_path / "m.npz").stat().st_size
    assert size < 0.5 * sum(v.nbytes for v in vars(matches).values() if isinstance(v, np.ndarray))


def test_a_damaged_file_is_named(tmp_path):
    path = sized(4).save(tmp_path / "damaged.npz")
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 3] ^= 0xFF
    for content in (whole[: len(whole) // 2], whole[:-30], bytes(changed), b"", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(YoloAttnError, match=r"damaged\.npz"):
            Matches.load(path)
    with pytest.raises(YoloAttnError, match=r"there is no .*gone\.npz"):
        Matches.load(tmp_path / "gone.npz")


def test_no_changed_byte_of_the_archive_s_index_raises_another_error(tmp_path):
    path = Matches(2, [0, 1], [0, 0], [0.9, 0.8], np.eye(2, 10) > 0, [0], [0]).save(tmp_path / "changed.npz")
    whole = path.read_bytes()
    for position in range(whole.index(b"PK\x01\x02"), len(whole), 2):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x15]) + whole[position + 1 :])
        with contextlib.suppress(YoloAttnError):
            Matches.load(path)


def test_a_subclass_leaves_the_kinds_that_are_read_as_they_are(tmp_path):
    """Which classes were imported or derived by then is no matter."""
    boxes = Boxes(1, [0], [0], [0.5], [[0, 0, 1, 1]], [0], [0], [[0, 0, 1, 1]])
    path = boxes.save(tmp_path / "boxes.npz")
    type("Mine", (Boxes,), {})
    assert_same(boxes, Boxes.load(path))
    code = "import sys; from yolo_attn.evaluate.bootstrap import load_evaluation as load; print(load(sys.argv[1]).cls)"
    assert subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True).stdout == "[0]\n"


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    Boxes(1, [0], [0], [0.5], [[0, 0, 1, 1]], [0], [0], [[0, 0, 1, 1]]).save(tmp_path / "boxes.npz")
    for name in ("other.npz", "boxes.npz"):
        with pytest.raises(YoloAttnError, match=name):
            Matches.load(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": [0.5]}, "'confidence' has shape"),
        ({"image": [0, 2]}, "'image' goes from 0 to 2; allowed is 0 to 1"),
        ({"target": [0, 5]}, "'target' goes from 0 to 5; allowed is -1 to 0"),
        ({"correct": [True, False]}, r"give \(detections, IoU thresholds\)"),
        ({"names": ("one",)}, "1 names for 2 images"),
        ({"ignored": [[True, True], [False, False]]}, "'ignored' has shape"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(changes, message):
    right = {
        "images": 2,
        "image": [0, 1],
        "cls": [0, 0],
        "confidence": [0.9, 0.8],
        "correct": [[True], [False]],
        "target_image": [0],
        "target_cls": [0],
    }
    Matches(**right)
    with pytest.raises(YoloAttnError, match=message):
        Matches(**{**right, **changes})


def test_sizes_by_hand():
    """A small and a large target; at the higher threshold the large one's detection is wrong, of its own size."""
    matches = Matches(
        images=1,
        image=[0, 0, 0, 0],
        cls=[0, 0, 0, 0],
        confidence=[0.9, 0.8, 0.7, 0.6],
        correct=[[True, False], [True, True], [False, False], [False, False]],
        target_image=[0, 0],
        target_cls=[0, 0],
        area=[20_000, 500, 500, 20_000],
        target=[1, 0, -1, -1],
        target_area=[400, 10_000],
    )
    small, large = matches.restricted(*SIZES["small"]), matches.restricted(*SIZES["large"])
    assert small.correct.tolist() == [[False, False], [True, True], [False, False], [False, False]]
    assert small.ignored.tolist() == [[True, True], [False, False], [False, False], [True, True]]
    assert large.correct.tolist() == [[True, False], [False, False], [False, False], [False, False]]
    assert large.ignored.tolist() == [[False, False], [True, True], [True, True], [False, False]]
    assert len(small.target_cls) == len(large.target_cls) == 1
    np.testing.assert_allclose(average_precision(small)[0, 0], [0.995, 0.995])
    np.testing.assert_allclose(average_precision(large)[0, 0], [0.995, 0.0])
    assert len(matches.restricted(*SIZES["medium"]).target_cls) == 0


def test_a_target_on_the_border_counts_on_both_sides():
    matches = Matches(1, [0], [0], [0.9], [[True]], [0], [0], [1024.0], [0], [1024.0])
    assert [len(matches.by_size()[size].target_cls) for size in ("small", "medium", "large")] == [1, 1, 0]


def test_without_sizes_there_are_none():
    assert set(random_matches(0, 5, 2, 20, 10).by_size()) == {"all"}
    with pytest.raises(YoloAttnError, match="'target_area'"):
        random_matches(0, 5, 2, 20, 10).restricted(0, 100)
    with pytest.raises(YoloAttnError, match="is correct, but its 'target' is -1"):
        Matches(1, [0], [0], [0.9], [[True]], [0], [0], [10.0], [-1], [10.0]).restricted(0, 100)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_of_resampled_images_equal_evaluation_without_what_is_ignored(size):
    """Threshold by threshold, what is ignored is taken out, and Ultralytics evaluates the rest."""
    matches = sized(7)
    low, high = SIZES[size]
    weights = np.random.default_rng(0).multinomial(20, [1 / 20] * 20, size=5)
    ours = average_precision(matches.restricted(low, high), weights)
    kept_targets = (matches.target_area >= low) & (matches.target_area <= high)
    inside = (matches.area >= low) & (matches.area <= high)
    for t in range(10):
        kept = np.where(matches.correct[:, t], kept_targets[matches.target], inside)
        alone = Matches(
            matches.images,
            matches.image[kept],
            matches.cls[kept],
            matches.confidence[kept],
            matches.correct[kept][:, [t]],
            matches.target_image[kept_targets],
            matches.target_cls[kept_targets],
        )
        for replicate, w in zip(ours, weights, strict=True):
            np.testing.assert_allclose(replicate[:, [t]], evaluated_again(alone, w), rtol=0, atol=1e-12)


def test_sizes_agree_with_coco_where_no_two_boxes_compete():
    rng = np.random.default_rng(5)
    corner = 1000.0 * np.stack(np.divmod(np.arange(60), 8), axis=1)
    side = np.exp(rng.uniform(np.log(10), np.log(300), (60, 2)))
    target_boxes, stretch = np.concatenate([corner, corner + side], axis=1), rng.uniform(0.5, 1, 60)
    found = np.concatenate([corner, corner + side * np.stack([stretch, np.ones(60)], axis=1)], axis=1)
    wrong = target_boxes[rng.choice(60, 40)] + 450
    boxes = Boxes(
        images=6,
        image=np.append(np.arange(60) % 6, rng.integers(0, 6, 40)),
        cls=np.zeros(100, int),
        confidence=rng.random(100),
        boxes=np.concatenate([found, wrong]),
        target_image=np.arange(60) % 6,
        target_cls=np.zeros(60, int),
        target_boxes=target_boxes,
    )
    matches = Matches(
        images=6,
        image=boxes.image,
        cls=boxes.cls,
        confidence=boxes.confidence,
        correct=np.append(stretch, np.zeros(40))[:, None] >= THRESHOLDS,
        target_image=boxes.target_image,
        target_cls=boxes.target_cls,
        area=(boxes.boxes[:, 2:] - boxes.boxes[:, :2]).prod(1),
        target=np.append(np.arange(60), np.full(40, -1)),
        target_area=side.prod(1),
    )
    weights = rng.multinomial(6, [1 / 6] * 6, size=5)
    for size, theirs in boxes.by_size().items():
        ours = average_precision(matches.by_size()[size], weights, "coco")
        np.testing.assert_allclose(ours, average_precision(theirs, weights, "coco"), rtol=0, atol=1e-12, err_msg=size)
