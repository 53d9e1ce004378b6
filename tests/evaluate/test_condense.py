"""A condensed record gives the same average precision in every bootstrap sample, and is smaller."""

import numpy as np
import pytest

from yolo_attn.evaluate.ap import average_precision
from yolo_attn.evaluate.bootstrap import load_evaluation
from yolo_attn.evaluate.coco_ap import Boxes
from yolo_attn.evaluate.condense import condense, match_and_condense
from yolo_attn.evaluate.matches import Matches

IMAGES, CLASSES, TARGETS, DETECTIONS = 30, 4, 90, 1500
AREAS = [100.0, 1023.9, 1024.0, 1024.1, 5000.0, 9216.0, 9216.5, 1e5]


@pytest.fixture(params=range(3))
def rng(request):
    return np.random.default_rng(request.param)


@pytest.fixture
def weights(rng):
    return np.vstack([np.ones(IMAGES, int), rng.multinomial(IMAGES, np.ones(IMAGES) / IMAGES, 15)])


@pytest.fixture
def matches(rng):
    """Random matches: equal confidences, areas at the ends of sizes, one class without targets, one without hits."""
    target = rng.integers(0, TARGETS, (DETECTIONS, 1)) + np.zeros((1, 10), int)
    target_image, target_cls = rng.integers(0, IMAGES, TARGETS), rng.integers(0, CLASSES - 1, TARGETS)
    cls = np.where(rng.random(DETECTIONS) < 0.2, CLASSES - 1, target_cls[target[:, 0]])
    correct = (rng.random((DETECTIONS, 1)) > np.linspace(0.7, 0.95, 10)) & (cls != 1)[:, None]
    correct &= (cls == target_cls[target[:, 0]])[:, None]
    for t in range(10):  # a target is found once
        hits = np.flatnonzero(correct[:, t])
        _, first = np.unique(target[hits, t], return_index=True)
        correct[np.delete(hits, first), t] = False
    confidence = rng.integers(1, 400, DETECTIONS).astype(np.float32) / 400
    confidence[correct.any(1)] = confidence[correct.any(1)].clip(0.2)
    return Matches(
        images=IMAGES, image=target_image[target[:, 0]], cls=cls, confidence=confidence, correct=correct,
        target_image=target_image, target_cls=target_cls, area=rng.choice(AREAS, DETECTIONS),
        target=np.where(correct, target, -1), target_area=rng.choice(AREAS, TARGETS),
    )  # fmt: skip


@pytest.fixture
def boxes(rng):
    """Boxes near targets and elsewhere; one image has more than the hundred detections of a class that count."""
    image, cls = rng.integers(0, IMAGES, TARGETS), rng.integers(0, CLASSES - 1, TARGETS)
    corner, side = rng.uniform(0, 300, (TARGETS, 2)), rng.choice([20.0, 32.0, 60.0, 96.0, 150.0], (TARGETS, 2))
    target = rng.integers(0, TARGETS, DETECTIONS)
    moved = corner[target] + rng.normal(0, 6, (DETECTIONS, 2))
    return Boxes(
        images=IMAGES, image=np.where(np.arange(DETECTIONS) < 300, 0, image[target]), cls=cls[target],
        confidence=rng.integers(1, 400, DETECTIONS).astype(np.float32) / 400,
        boxes=np.hstack([moved, moved + side[target]]), target_image=image, target_cls=cls,
        target_boxes=np.hstack([corner, corner + side]),
    )  # fmt: skip


def assert_same(record, condensed, weights, tail):
    whole, small = record.by_size(), condensed.by_size()
    assert whole.keys() == small.keys()
    for name in whole:
        np.testing.assert_array_equal(
            average_precision(small[name], weights, tail), average_precision(whole[name], weights, tail), name
        )


@pytest.mark.parametrize("tail", ["drop", "ramp"])
def test_matches(tail, matches, weights):
    small = condense(matches, tail)
    assert_same(matches, small, weights, tail)
    assert small.correct.any(1).sum() == matches.correct.any(1).sum() > 40
    assert len(small.cls) < len(matches.cls)
    assert_same(matches, condense(small, tail), weights, tail)


def test_a_line_beyond_the_last_recall_needs_what_is_left_out_otherwise(matches, weights):
    assert len(condense(matches, "ramp").cls) > len(condense(matches).cls)
    whole, small = (average_precision(m, weights, "ramp") for m in (matches, condense(matches)))
    assert not np.array_equal(whole, small, equal_nan=True)


def test_matches_with_ignored_detections(matches, weights):
    medium = matches.restricted(32.0**2, 96.0**2)
    assert medium.ignored.any()
    assert_same(medium, condense(medium), weights, "drop")


def test_boxes_matched_as_coco_does(boxes, weights, tmp_path):
    small = match_and_condense(boxes)
    assert_same(boxes, small, weights, "coco")
    assert small.foreign.any()
    assert 50 < small.matched.any((1, 2)).sum() < len(small.cls) < len(boxes.cls)
    stored = [r.save(tmp_path / f"{k}.npz").stat().st_size for k, r in enumerate((boxes, small))]
    assert stored[1] < stored[0] / 2
    assert_same(boxes, load_evaluation(tmp_path / "1.npz"), weights, "coco")


@pytest.mark.parametrize("kept", [slice(0), slice(1)])
def test_without_detections_or_matches(kept, matches, weights):
    few = Matches(
        images=IMAGES, image=matches.image[kept], cls=matches.cls[kept], confidence=matches.confidence[kept],
        correct=np.zeros_like(matches.correct[kept]), target_image=matches.target_image, target_cls=matches.target_cls,
    )  # fmt: skip
    for tail in ("drop", "ramp"):
        small = condense(few, tail)
        assert len(small.cls) == 0
        assert_same(few, small, weights, tail)
    nothing = Boxes(1, [], [], [], np.zeros((0, 4)), [0], [0], [[0, 0, 1, 1]])
    assert average_precision(match_and_condense(nothing).by_size()["all"], tail="coco").sum() == 0
