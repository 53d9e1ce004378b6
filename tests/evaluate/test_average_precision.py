"""AP of bootstrap samples against a reference: repeat the drawn images and evaluate again."""

from dataclasses import replace

import numpy as np
import pytest
from instruments.simulation import detect, make_scene
from support.random_matches import evaluated_again, random_matches
from ultralytics.utils.metrics import compute_ap

from yolo_attn.evaluate import ap
from yolo_attn.evaluate.ap import Matches, average_precision, map_by_ties, mean_average_precision


@pytest.mark.parametrize("seed", range(40))
def test_equals_ultralytics_on_resampled_images(seed):
    rng = np.random.default_rng(1000 + seed)
    images = int(rng.integers(1, 40))
    matches = random_matches(
        seed, images, int(rng.integers(1, 6)), int(rng.integers(0, 400)), int(rng.integers(1, 220))
    )
    weights = rng.multinomial(images, [1 / images] * images, size=6)
    weights[0] = 1
    ours = average_precision(matches, weights)
    for replicate, w in zip(ours, weights, strict=True):
        np.testing.assert_allclose(replicate, evaluated_again(matches, w), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tail", ["drop", "ramp", "coco"])
def test_many_replicates_at_once_are_as_each_alone(tail, monkeypatch):
    matches = detect(np.random.default_rng(2), make_scene(np.random.default_rng(1), 20, 3, 160), 20)
    weights = np.random.default_rng(0).multinomial(20, [1 / 20] * 20, size=ap._FEW + 8)
    weights[3] = [7, 7, 6] + [0] * 17
    views = matches.by_size()
    alone = {size: [average_precision(view, w[None], tail)[0] for w in weights] for size, view in views.items()}
    for rows in (len(weights) - 1, ap._FEW + 1):
        monkeypatch.setattr(ap, "_blocks", lambda total, _, rows=rows: [slice(0, rows), slice(rows, total)])
        for size, view in views.items():
            together = average_precision(view, weights, tail)
            np.testing.assert_allclose(together, alone[size], rtol=0, atol=1e-14, err_msg=size)


def test_the_set_itself_is_the_replicate_of_ones():
    matches = random_matches(3, 50, 4, 800, 300)
    again = evaluated_again(matches, np.ones(50, int))
    np.testing.assert_allclose(average_precision(matches)[0], again, rtol=0, atol=1e-14)  # summed in another order
    assert 0.05 < mean_average_precision(average_precision(matches))[0] < 0.95


def test_multiplicity_counts():
    """Two images that are drawn twice each are the same set; one that is drawn twice is another."""
    matches = random_matches(5, 2, 1, 60, 30)
    once, twice, uneven = average_precision(matches, np.array([[1, 1], [2, 2], [2, 1]]))
    assert not np.allclose(once, uneven)
    np.testing.assert_allclose(once, twice, atol=0.02)  # the curve bends in finer steps, no more


def test_a_class_that_was_not_drawn_is_no_class():
    matches = Matches(
        images=2,
        image=np.array([0, 1]),
        cls=np.array([0, 1]),
        confidence=np.array([0.9, 0.8]),
        correct=np.array([[True], [True]]),
        target_image=np.array([0, 1, 1]),
        target_cls=np.array([0, 1, 1]),
    )
    found = average_precision(matches, np.array([[1, 1], [2, 0], [0, 2]]))
    assert np.isnan(found[1, 1, 0])
    assert np.isnan(found[2, 0, 0])
    assert found[1, 0, 0] == pytest.approx(0.995)  # precision 1 up to recall 1, where Ultralytics' curve falls to 0
    np.testing.assert_allclose(mean_average_precision(found), [found[0].mean(), found[1, 0, 0], found[2, 1, 0]])


def test_the_tail_of_earlier_versions():
    """Before 8.4 a line led from the last point to precision 0 at recall 1."""
    for seed in range(20):
        matches = random_matches(seed, 12, 1, 120, 60, thresholds=1)
        order = np.argsort(-matches.confidence, kind="stable")
        hits = matches.correct[order, 0].cumsum()
        recall, precision = hits / len(matches.target_cls), hits / np.arange(1, len(hits) + 1)
        envelope = np.maximum.accumulate(np.concatenate(([1.0], precision, [0.0]))[::-1])[::-1]
        x = np.linspace(0, 1, 101)
        expected = np.trapezoid(np.interp(x, np.concatenate(([0.0], recall, [1.0])), envelope), x)
        assert average_precision(matches, tail="ramp")[0, 0, 0] == pytest.approx(expected, abs=1e-12), seed


def test_the_installed_version_drops():
    area, *_ = compute_ap(np.array([0.5]), np.array([1.0]))
    assert area == pytest.approx(0.5, abs=0.01)


def test_map_of_detections_of_equal_confidence_lies_between_bounds():
    """Two images with a target each; of three detections of one confidence two are right."""
    matches = Matches(
        images=2, image=[0, 0, 1], cls=[0, 0, 0], confidence=[0.5, 0.5, 0.5], target_image=[0, 1], target_cls=[0, 0],
        correct=np.array([[True, False], [False, True], [True, True]]), area=None, target_area=None,
    )  # fmt: skip
    lowest, highest = map_by_ties(matches)
    assert highest == pytest.approx(0.995)  # right ones first: precision 1 at all recalls but the last
    assert lowest < float(mean_average_precision(average_precision(matches))[0]) < highest
    rng = np.random.default_rng(0)
    for _ in range(20):
        order = rng.permutation(3)
        shuffled = replace(matches, image=matches.image[order], correct=matches.correct[order])
        assert lowest <= float(mean_average_precision(average_precision(shuffled))[0]) <= highest
    apart = replace(matches, confidence=np.array([0.9, 0.8, 0.7]))
    assert map_by_ties(apart) == pytest.approx([float(mean_average_precision(average_precision(apart))[0])] * 2)
