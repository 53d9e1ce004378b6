"""The variance of mAP where classes are in few images, against the truth of simulated sets."""

import statistics
from dataclasses import replace

import numpy as np
import pytest
from instruments import rare_means
from instruments.rare_classes import Kind, row, simulate
from instruments.simulation import COCO_IMAGES, COCO_TARGETS, detect, make_coco_scene, make_scene
from instruments.statistics import classes_evaluated_again
from scipy import stats

from yolo_attn.evaluate.bootstrap import draw_images, resample
from yolo_attn.evaluate.comparison import compare_arms
from yolo_attn.evaluate.intervals import LEAST_LEFT, Uncertainty
from yolo_attn.evaluate.matches import Matches
from yolo_attn.evaluate.rare import factors, image_df, stretched_mean

IMAGES = 30


def means_by_class(values, holds, draws):
    """Mean of each class over the drawn images that hold it, NaN where none is: ``(1 + R, C)``."""
    weights = np.concatenate([np.ones((1, len(holds))), draws])
    with np.errstate(invalid="ignore"):
        return weights @ (values * holds) / (weights @ holds)


@pytest.mark.parametrize("of_image", [0.0, 2.0], ids=["classes vary alone", "with their image"])
def test_the_variance_of_a_mean_over_rare_classes(of_image):
    """A mean over the classes of a mean over images: its variance over sets of images is known."""
    holds = np.zeros((IMAGES, 6), bool)
    for c, images in enumerate(([0], [1], [0, 2], [1, 3, 4], range(4, 16), range(IMAGES))):
        holds[list(images), c] = True
    rng, draws = np.random.default_rng(0), draw_images(IMAGES, 300, 0)
    share = holds / holds.sum(0)
    truth = (share.sum(1) ** 2).sum() * of_image**2 / 36 + (share**2).sum() / 36
    plain, ours = [], []
    for _ in range(1500):
        values = of_image * rng.normal(size=(IMAGES, 1)) + rng.normal(size=holds.shape)
        ap = means_by_class(values, holds, draws)
        replicates, excess = stretched_mean(ap, holds.sum(0), IMAGES)
        assert replicates[0] == pytest.approx(ap[0].mean())
        ours.append(Uncertainty.of(ap[:1].mean(1), replicates[1:, None], IMAGES, excess[1:, None]).image_variance)
        plain.append(Uncertainty.of(ap[:1].mean(1), np.nanmean(ap[1:], axis=1)[:, None], IMAGES).image_variance)
    assert statistics.fmean(plain) < 0.75 * truth
    assert statistics.fmean(ours) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("images_with", [1, 2, 3, 5, 20, 60])
def test_factors_by_simulation(images_with):
    """One class: the variance of its mean over drawn images, and its covariance with the mean over all images."""
    rng, images, classes = np.random.default_rng(images_with), 60, 1000
    draws = draw_images(images, 4000, images_with).astype(float)
    of_class, found = draws[:, :images_with], []
    for _ in range(300):
        values = rng.normal(size=images)
        own, count = of_class @ values[:images_with], of_class.sum(1)
        mean = np.divide(own, count, out=np.zeros(len(draws)), where=count > 0)  # the mean over all classes is near 0
        found.append((mean.var(), np.cov(mean, draws @ values / images)[0, 1]))
    variance, covariance = np.mean(found, axis=0)
    known = (images - 1) / images
    given = factors(images_with, images, classes)
    assert given.variance == pytest.approx(max(1, known / images_with / variance), rel=0.2)
    assert given.covariance == pytest.approx(max(1, known / images / covariance), rel=0.2)


def test_degrees_of_freedom_by_hand():
    assert image_df(np.arange(50), np.zeros(50), 50) == pytest.approx(49)
    assert image_df(np.tile(np.arange(50), 3), np.repeat([4, 0, 9], 50), 50) == pytest.approx(49)
    assert image_df(np.array([0, 0]), np.array([1, 2]), 30) == 1
    stretch = factors(1, 3, 2).variance, factors(3, 3, 2).variance  # class 7 is in image 1, class 5 in all three
    squared = np.array(
        [0.5 * stretch[1] ** 0.5, 0.25 * stretch[1] ** 0.5 + stretch[0] ** 0.5, 0.25 * stretch[1] ** 0.5]
    )
    squared = squared**2
    given = image_df(np.array([0, 0, 1, 2, 1]), np.array([5, 5, 5, 5, 7]), 3)
    assert given == pytest.approx(max(1, squared.sum() ** 2 / (squared**2).sum() - 1))


@pytest.mark.parametrize("crowded", [1, 4, 16])
def test_degrees_of_freedom_by_simulation(crowded):
    """One class, in some images many times: how much a variance of its mean, found from the images, varies."""
    targets = np.ones(60)
    targets[:12] = crowded
    share = targets / targets.sum()
    values = np.random.default_rng(0).normal(size=(20_000, 60))
    found = (((values - (values @ share)[:, None]) * share) ** 2).sum(1)
    given = image_df(np.repeat(np.arange(60), targets.astype(int)), np.zeros(int(targets.sum())), 60)
    assert given == pytest.approx(2 * found.mean() ** 2 / found.var(), rel=0.1)


def test_the_variance_of_the_images_counts_with_its_degrees_of_freedom():
    scene = make_coco_scene(np.random.default_rng(0), 40)
    runs = [detect(np.random.default_rng(k), scene, 12) for k in range(2)]
    wide = compare_arms({"base": [runs[0]], "other": [runs[1]]}, replicates=50).arms["other"].differences["mAP50-95"]
    df = image_df(scene.target_image, scene.target_cls, 40)
    assert 3 < df < 25
    assert (wide.high - wide.low) / 2 == pytest.approx(stats.t(df).ppf(0.975) * wide.se)


def test_rare_means_are_seldom_false():
    df, p = zip(*(rare_means.p_values(Kind(40), n) for n in range(8)), strict=True)
    plain, ours = (np.array(p) < 0.05 / 12).mean((0, 1, 2))
    assert max(df) < 30
    assert ours < plain
    assert ours < 0.01


def test_classes_in_all_images_are_left_alone():
    scene, targets = make_scene(np.random.default_rng(0), 12, 2, 480), np.arange(480)
    scene = replace(scene, target_image=targets % 12, target_cls=targets // 12 % 2)
    run = detect(np.random.default_rng(1), scene, 50)
    assert run.images_by_class.tolist() == [12, 12]
    found = resample(run, draw_images(12, 50, 0))
    for metric in ("mAP50-95", "AP50", "AP75"):
        replicates, excess = found.for_variance[metric]
        assert replicates == pytest.approx(found.metrics[metric], abs=1e-15)
        assert not excess.any()


def test_a_class_drawn_never_counts_like_the_mean():
    """By hand: two images, a class in each; drawing one image twice leaves the other's class out."""
    ap = np.array([[0.2, 0.6], [0.2, np.nan], [np.nan, 0.6]])
    stretch = factors(1, 2, 2).covariance
    replicates, excess = stretched_mean(ap, np.array([1, 1]), 2)
    assert replicates == pytest.approx([0.4, 0.4 - 0.1 * stretch, 0.4 + 0.1 * stretch])
    assert excess.shape == (3,)
    assert excess[0] == 0


def test_the_order_of_classes_and_images_is_kept():
    run = Matches(4, [], [], [], np.zeros((0, 10)), [3, 0, 0, 3, 1], [7, 7, 7, 7, 2])
    assert run.classes.tolist() == [2, 7]
    assert run.images_by_class.tolist() == [1, 2]


def test_one_class_in_one_image_knows_nothing_of_other_images():
    assert factors(1, 60, 1) == (1.0, 1.0)


def test_explicitly_repeated_images_give_the_same_replicates():
    scene = make_coco_scene(np.random.default_rng(0), 15)
    run = detect(np.random.default_rng(1), scene, 12)
    draws = draw_images(15, 20, 0)
    again = [classes_evaluated_again(run, w) for w in draws]
    ap = np.array([[found.get(cls, np.nan) for cls in run.classes.tolist()] for found in again])
    whole = classes_evaluated_again(run, np.ones(15, int))
    ap = np.concatenate([[[whole[cls] for cls in run.classes.tolist()]], ap])
    images_with = [len(set(run.target_image[run.target_cls == cls].tolist())) for cls in run.classes]
    expected = stretched_mean(ap, np.array(images_with), 15)
    assert np.array(resample(run, draws).for_variance["mAP50-95"]) == pytest.approx(np.array(expected), abs=1e-12)


def test_simulated_sets_have_classes_as_rare_as_in_coco():
    scene = make_coco_scene(np.random.default_rng(0), 2000)
    pairs = np.unique(np.stack([scene.target_cls, scene.target_image]), axis=1)
    assert np.bincount(pairs[0], minlength=80) == pytest.approx(2 * COCO_IMAGES, abs=60)
    assert len(scene.target_cls) == pytest.approx(2 * COCO_IMAGES @ COCO_TARGETS, rel=0.1)


@pytest.mark.slow
def test_intervals_hold_the_truth_where_most_classes_are_rare():
    experiments = [simulate(Kind(40), (0.0, 2.0, 0.0), n) for n in range(60)]
    plain, ours = (row(experiments, 5, corrected) for corrected in (False, True))
    assert plain.ratio < 0.9 < ours.ratio < 1.25
    assert (ours.null + ours.true) / 2 > (plain.null + plain.true) / 2
    assert (ours.null + ours.true) / 2 > 90


def test_a_class_keeps_at_least_the_stated_share_of_its_variance():
    left = [f.variance / f.covariance**2 for f in (factors(n, 60, 40) for n in range(1, 60))]
    assert LEAST_LEFT < min(left) < LEAST_LEFT + 0.05


def test_an_excess_that_chance_makes_too_large_leaves_an_interval():
    replicates = np.random.default_rng(0).normal(size=(100, 1))
    whole = Uncertainty.of(np.zeros(1), replicates, 60)
    found = Uncertainty.of(np.zeros(1), replicates, 60, excess=1.1 * replicates)
    assert found.image_variance == pytest.approx(whole.image_variance / 2)
    assert found.p_value(0.1) > 0.05
