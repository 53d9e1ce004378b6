"""Statistics of a comparison against hand-computed numbers, simulated truth, and a plain bootstrap."""

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from instruments.simulation import REGIMES, detect, make_scene
from instruments.statistics import classes_evaluated_again, linear_coverage, ours, plain_hierarchical
from scipy import integrate, stats

from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.ap import average_precision, mean_average_precision
from yolo_attn.evaluate.bootstrap import draw_images
from yolo_attn.evaluate.comparison import compare_arms
from yolo_attn.evaluate.differences import difference, power_note
from yolo_attn.evaluate.intervals import Uncertainty, holm, sign_flip_test
from yolo_attn.evaluate.matches import Matches
from yolo_attn.evaluate.rare import factors
from yolo_attn.evaluate.spread import of_sample

METRICS = ["mAP50-95", "AP50", "AP75", "APs", "APm", "APl"]


def runs(qualities, images=25, scene_seed=0):
    """One run for each quality, of the same scene."""
    scene = make_scene(np.random.default_rng(scene_seed), images, 3, 8 * images)
    return [detect(np.random.default_rng([scene_seed, n]), scene, 15, q) for n, q in enumerate(qualities)]


@pytest.fixture(scope="module")
def arms():
    by_image = np.random.default_rng(0).normal(0, 0.4, 25)  # where the better arm is better, whatever the seed
    found = runs([0.0, 0.1, -0.1, 1.7 + by_image, 1.9 + by_image, 1.8 + by_image, 0.0, 0.2, -0.2])
    return {"base": found[:3], "better": found[3:6], "same": found[6:]}


@pytest.fixture(scope="module")
def compared(arms):
    return compare_arms(arms, replicates=200, workers=1)


# --- tests and quantiles by hand


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.012, 0.02, 0.7]) == pytest.approx([0.08, 0.048, 0.06, 0.7])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_sign_flips_by_hand():
    assert sign_flip_test([1, 2, 3]) == (2 / 8, 2 / 8)  # only all plus and all minus reach 6
    assert sign_flip_test([1, -2, 3]) == (6 / 8, 2 / 8)  # sums 6 4 2 0 and their negatives; 2 or more in 6
    assert sign_flip_test([0.3]) == (1.0, 1.0)
    assert sign_flip_test([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == (2 / 64, 2 / 64)
    assert sign_flip_test([0.0, 0.0]) == (1.0, 0.5)


def test_flips_are_sampled_where_there_are_too_many():
    p, floor = sign_flip_test([1.0] * 20)
    assert p == floor == 1 / 20_001
    rng = np.random.default_rng(0)
    nothing = rng.normal(0, 1, 30)
    assert sign_flip_test(nothing) == sign_flip_test(nothing)
    expected = math.erfc(abs(nothing.sum()) / math.sqrt(2 * (nothing**2).sum()))  # the sum is nearly normal
    assert sign_flip_test(nothing)[0] == pytest.approx(expected, abs=0.02)


# --- intervals


def replicates_of(values, replicates, seed):
    """Means of resampled images; values by seed and image."""
    images = values.shape[1]
    return draw_images(images, replicates, seed).astype(float) @ values.T / images


def test_the_parts_of_the_variance_are_told_apart():
    """Images have 2, seeds 3, their interaction 5; the spread between seeds holds the last two, the images only 2."""
    rng, images, seeds, found = np.random.default_rng(0), 300, 4, []
    for _ in range(300):
        values = rng.normal(0, math.sqrt(3), (seeds, 1)) + rng.normal(0, math.sqrt(2 * images), (1, images))
        values = values + rng.normal(0, math.sqrt(5 * images), (seeds, images))
        u = Uncertainty.of(values.mean(1), replicates_of(values, 200, 1), images)
        found.append((u.seed_variance * seeds, u.image_variance))
    assert np.mean(found, axis=0) == pytest.approx([8, 2], rel=0.1)


def test_one_seed_is_students_interval_over_images():
    values = np.random.default_rng(0).normal(0.3, 1, (1, 12))
    found = Uncertainty.of(values.mean(1), replicates_of(values, 20_000, 0), 12)
    assert found.se == pytest.approx(values.std(ddof=1) / math.sqrt(12), rel=0.03)
    low, high = found.interval(0.3, 0.95)
    assert (high - low) / 2 / found.se == pytest.approx(2.201, abs=1e-3)  # t with 11 degrees of freedom


def test_seeds_alone_are_students_interval_over_seeds():
    found = Uncertainty(seeds=3, images=500, seed_variance=0.04, image_variance=0.0)
    assert found.interval(1.0, 0.95) == pytest.approx((1 - 0.2 * 4.3027, 1 + 0.2 * 4.3027), abs=1e-4)
    assert Uncertainty(3, 10**6, 0.0, 0.04).interval(1.0, 0.95) == pytest.approx((0.608, 1.392), abs=1e-3)


@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
@pytest.mark.parametrize("estimate", [-0.7, 0.05, 0.4])
def test_the_p_value_inverts_the_interval(seeds, estimate):
    found = Uncertainty(seeds, 400, 0.05 if seeds > 1 else 0.0, 0.03)
    ends = found.interval(estimate, 1 - found.p_value(estimate))
    assert min(map(abs, ends)) == pytest.approx(0, abs=1e-6)


def test_power_by_simulation():
    """A true difference of the size that is called detectable is found significant four times in five."""
    rng, size, experiments = np.random.default_rng(0), Uncertainty(4, 10**5, 0.5, 0.5).detectable(), 4000
    found = 0
    for _ in range(experiments):
        by_seed = size + rng.normal(0, math.sqrt(0.5 * 4), 4) + rng.normal(0, math.sqrt(0.5))
        u = Uncertainty(4, 10**5, by_seed.var(ddof=1) / 4, 0.5)
        found += u.interval(by_seed.mean(), 0.95)[0] > 0
    assert found / experiments == pytest.approx(0.8, abs=0.04)


def test_seeds_to_detect():
    found = Uncertainty(3, 5000, 0.003**2, 0.0008**2)
    needed = found.seeds_to_detect(0.005)
    assert found.with_seeds(needed).detectable() <= 0.005 < found.with_seeds(needed - 1).detectable()
    assert Uncertainty(3, 5000, 0.003**2, 0.004**2).seeds_to_detect(0.005) is None  # the images alone are too few
    assert Uncertainty(1, 5000, 0.0, 0.0001**2).seeds_to_detect(0.005) is None  # of seeds nothing is known


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("regime", ["seeds", "seeds and images", "images", "interaction"])
def test_intervals_hold_the_truth_as_often_as_they_say(regime, seeds):
    """Where both parts of the variance count, the sum of two Student variables errs on the wide side."""
    (held,) = linear_coverage(REGIMES[regime], seeds, [ours], experiments=1000, images=100)
    assert 0.935 <= held <= 0.98


def test_plain_percentiles_over_drawn_seeds_do_not():
    (held,) = linear_coverage(REGIMES["seeds"], 3, [plain_hierarchical], experiments=500, images=100)
    assert held < 0.85


def test_the_bootstrap_knows_the_spread_of_ap():
    """Over many sets of images, the difference of two models' mAP varies as much as resampling one set says."""
    found, claimed = [], []
    for n in range(100):
        weights = np.concatenate([np.ones((1, 40), int), draw_images(40, 60, n)])
        a, b = (mean_average_precision(average_precision(r, weights)) for r in runs([0.0, 0.4], 40, scene_seed=n))
        d = difference((b - a)[:1], (b - a)[1:, None], images=40)
        found.append(d.estimate)
        claimed.append(d.se)
    assert statistics.stdev(found) == pytest.approx(statistics.fmean(claimed), rel=0.2)


# --- a whole comparison


def test_equals_a_bootstrap_that_repeats_images_and_evaluates_again(arms):
    """The interval's parts from scratch: repeated images, covariances in a loop, the quantile by integration."""
    compared = compare_arms({name: arms[name] for name in ("base", "better")}, replicates=200, workers=1)
    draws = [np.ones(25, int), *draw_images(25, 200, 0)]
    d = np.array(
        [[by_class(a, w) - by_class(b, w) for a, b in zip(arms["better"], arms["base"], strict=True)] for w in draws]
    )  # (1 + R, S, C); every class is in every sample
    holders = [len(set(arms["base"][0].target_image[arms["base"][0].target_cls == cls])) for cls in range(3)]
    given = [factors(n, 25, 3) for n in holders]
    assert all(1 <= f.variance <= f.covariance**2 < 1.3 for f in given)
    signs = np.random.default_rng(0).choice((-1, 1), (200, 3))
    stretched = sum(d[1:, :, c] * given[c].covariance for c in range(3)) / 3
    centered = d[1:] - d[1:].mean(0)
    excess = (
        sum(
            signs[:, c, None] * centered[:, :, c] * math.sqrt(given[c].covariance ** 2 - given[c].variance)
            for c in range(3)
        )
        / 3
    )
    d = d[0].mean(1)
    found = compared.arms["better"].differences["mAP50-95"]
    assert 0.1 < found.seed_share < 0.9
    assert found.by_seed == pytest.approx(d.tolist(), abs=1e-12)
    assert found.estimate == pytest.approx(d.mean(), abs=1e-12)
    pairs = [
        np.cov(stretched[:, i], stretched[:, j])[0, 1] - np.cov(excess[:, i], excess[:, j])[0, 1]
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    images, seeds = 25 / 24 * np.mean(pairs), d.var(ddof=1) / 3
    assert found.se == pytest.approx(math.sqrt(images + seeds))
    assert found.seed_share == pytest.approx(seeds / (images + seeds))
    share = seeds / (images + seeds)
    df = image_df_in_loops(arms["base"][0], [f.variance for f in given])
    assert 2 < df < 24
    assert tail_by_integration((found.high - d.mean()) / found.se, share, 2, df) == pytest.approx(0.05, rel=1e-4)
    assert found.low == pytest.approx(2 * d.mean() - found.high)
    assert tail_by_integration(d.mean() / found.se, share, 2, df) == pytest.approx(found.p, rel=1e-4)


def image_df_in_loops(run, stretch):
    squared = []
    for image in range(run.images):
        weight = 0.0
        for cls in range(3):
            here = sum((i, c) == (image, cls) for i, c in zip(run.target_image, run.target_cls, strict=True))
            weight += math.sqrt(stretch[cls]) * here / sum(c == cls for c in run.target_cls)
        squared.append(weight**2)
    return sum(squared) ** 2 / sum(s**2 for s in squared) - 1


def by_class(run, weights):
    return np.array([ap for _, ap in sorted(classes_evaluated_again(run, weights).items())])


def tail_by_integration(t, share, df, other_df):
    """Return how often the sum of two Student variables with these shares of the variance is beyond ``t``."""

    def beyond(x):
        rest = (t - math.sqrt(1 - share) * x) / math.sqrt(share)
        return stats.t.pdf(x, other_df) * stats.t.sf(rest, df)

    return 2 * integrate.quad(beyond, -np.inf, np.inf, limit=200)[0]


@pytest.mark.parametrize(("df", "t"), [(1, 3.0), (2, 4.3), (2, 60.0), (4.7, 3.0), (12, 2.2), (40, 5.0)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("images", [12, 400])
def test_the_sum_of_two_student_variables(df, t, share, images):
    found = Uncertainty(3, images, share, 1 - share, of_sample(share, df))
    assert found.tail(t) == pytest.approx(tail_by_integration(t, share, df, images - 1), rel=1e-4, abs=1e-10)
    assert found.tail(found.quantile(0.995)) == pytest.approx(0.01, rel=1e-6)


def test_what_a_comparison_says(compared):
    assert compared.baseline == "base"
    assert list(compared.arms) == ["base", "better", "same"]
    assert list(compared.arms["base"].metrics) == METRICS
    assert compared.arms["base"].differences == {}
    better, same = (compared.arms[name].differences["mAP50-95"] for name in ("better", "same"))
    assert (better.verdict, same.verdict) == ("better", "not significant")
    assert better.low > 0
    assert same.low < 0 < same.high
    assert better.p_permutation == better.permutation_floor == 0.25
    assert better.p_permutation_holm == 0.5
    assert better.p_holm == pytest.approx(2 * better.p)
    assert 2 < better.df < 4  # the other arm's spread says something, but not everything
    metric = compared.arms["base"].metrics["AP50"]
    assert metric.mean == pytest.approx(statistics.fmean(metric.by_seed))
    assert metric.sd == pytest.approx(statistics.stdev(metric.by_seed))
    said = power_note({"better": better, "same": same})
    assert f"2 models tested, a true difference of {min(better.detectable, same.detectable):.4f} (" in said
    assert "is found significant with a probability of 80 %, a smaller one less often" in said


def test_an_arm_that_computes_the_same_is_not_tested(arms):
    more = {**arms, "identity": arms["base"]}
    found = compare_arms(more, replicates=50, workers=1, untested=["identity"]).arms
    expected = compare_arms(arms, replicates=50, workers=1).arms
    assert found["better"] == expected["better"]
    for d in found["identity"].differences.values():
        assert (d.estimate, d.low, d.high, d.verdict, d.detectable) == (0, 0, 0, None, None)
    assert power_note({"identity": found["identity"].differences["AP50"]}) is None


def test_the_other_way_round_it_is_worse(arms, compared):
    assert list(compare_arms(arms, baseline="better", replicates=2, workers=1).arms) == ["better", "base", "same"]
    two = {name: arms[name] for name in ("base", "better")}  # of several, the spreads to another baseline are others
    there, turned = (compare_arms(two, baseline=name, replicates=200, workers=1) for name in two)
    there, back = there.arms["better"].differences["AP50"], turned.arms["base"].differences["AP50"]
    assert there.verdict == "better"
    assert back.verdict == "worse"
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_it_is_ready_for_json(compared):
    text = json.dumps(compared.to_dict(), allow_nan=False)
    assert json.loads(text)["arms"]["better"]["differences"]["APm"]["verdict"] in ("better", "not significant")


def test_classes(arms):
    found = compare_arms(arms, replicates=50, workers=1, class_names={0: "person", 2: "bus"})
    classes = found.arms["better"].classes
    assert [c.name for c in classes] == ["person", "1", "bus"]
    assert sum(c.targets for c in classes) == found.targets == 200
    mean = statistics.fmean(c.estimate for c in classes)
    assert mean == pytest.approx(found.arms["better"].differences["mAP50-95"].estimate)
    assert all(c.low < c.estimate < c.high for c in classes)


def test_a_class_in_one_image_has_no_interval():
    """However often that image is drawn, nothing is learnt of how the class varies over images."""
    correct = np.ones((2, 10), bool)
    a = Matches(3, [0, 1], [0, 1], [0.9, 0.8], correct, [0, 1, 2], [0, 1, 1])
    b = Matches(3, [0, 1], [0, 1], [0.9, 0.8], ~correct, [0, 1, 2], [0, 1, 1])
    found = compare_arms({"a": [a, a], "b": [b, b]}, replicates=30, workers=1).arms["b"].classes
    assert (found[0].images, found[0].low, found[0].high) == (1, None, None)
    assert found[1].images == 2
    assert found[1].low < found[1].high


def test_one_seed_is_flagged_and_gives_no_verdict(arms):
    one = compare_arms({name: records[:1] for name, records in arms.items()}, replicates=100, workers=1)
    found = one.arms["better"].differences["mAP50-95"]
    assert found.low > 0
    assert (found.seeds_counted, found.verdict, found.detectable, found.df) == (False, None, None, 0)
    assert found.permutation_floor == 1.0
    assert one.arms["base"].metrics["AP50"].sd is None
    assert "at least 3 seeds" in power_note({"better": found})


def test_missing_runs(arms):
    found = compare_arms(
        {
            "base": {0: arms["base"][0], 1: arms["base"][1], 7: arms["base"][2]},
            "better": [arms["better"][0], None, arms["better"][2]],
            "failed": [None, None, None],
            "elsewhere": {5: arms["same"][0]},
        },
        seeds=[0, 1, 7],
        replicates=20,
        workers=1,
    )
    assert found.skipped == ("failed",)
    assert found.arms["better"].seeds == found.arms["better"].compared_seeds == (0, 7)
    assert found.arms["elsewhere"].compared_seeds == ()
    assert found.arms["elsewhere"].differences == {}
    assert found.arms["elsewhere"].metrics["mAP50-95"].by_seed


def test_the_same_seed_gives_the_same_however_it_is_computed(arms, compared, tmp_path):
    stored = {
        name: [r.save(tmp_path / f"{name}{n}.npz") for n, r in enumerate(records)] for name, records in arms.items()
    }
    told = []
    again = compare_arms(stored, replicates=200, workers=2, progress=lambda done, total: told.append((done, total)))
    assert again == compared
    assert told == [(n, 9) for n in range(1, 10)]
    other = compare_arms(arms, replicates=200, workers=1, seed=1)
    assert other.arms["same"].differences["AP50"].se != compared.arms["same"].differences["AP50"].se
    assert other.arms["same"].differences["AP50"].estimate == compared.arms["same"].differences["AP50"].estimate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": tuple("abcdefghijklmnopqrstuvwxz")}, "image 24 is 'z', not 'y'"),
        ({"images": 26, "names": ()}, "26 images, not 25"),
        ({"target_cls": np.zeros(200, int)}, "the targets are others"),
        (
            {"target_cls": [0], "target_image": [0], "target_area": [1.0], "target": None},
            "1 targets, not 200",
        ),
    ],
)
def test_runs_of_other_sets_are_named_and_refused(arms, changes, message):
    named = [replace(r, names=tuple("abcdefghijklmnopqrstuvwxy")) for r in arms["base"]]
    mixed = {"base": named, "odd one": [arms["better"][0], replace(arms["better"][1], **changes), None]}
    with pytest.raises(YoloAttnError, match=f"arm 'odd one', seed 4 .* arm 'base', seed 3: {message}"):
        compare_arms(mixed, seeds=[3, 4, 5], replicates=5, workers=1)


def test_an_error_comes_back_from_a_process(arms):
    odd = replace(arms["same"][0], target_cls=np.zeros(200, int))
    with pytest.raises(YoloAttnError, match="arm 'odd', seed 0"):
        compare_arms({"base": arms["base"], "odd": [odd, None, None]}, replicates=5, workers=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": "bass"}, "unknown arm 'bass'. Did you mean 'base'"),
        ({"replicates": 1}, "at least 2 replicates"),
        ({"level": 95}, r"a level in \(0, 1\)"),
        ({"seeds": [0, 1]}, "arm 'base' has 3 runs for 2 seeds"),
    ],
)
def test_what_cannot_be_is_refused(arms, arguments, message):
    with pytest.raises(YoloAttnError, match=message):
        compare_arms(arms, **arguments)


def test_too_little_is_refused(arms):
    with pytest.raises(YoloAttnError, match="no arms"):
        compare_arms({})
    with pytest.raises(YoloAttnError, match="the baseline 'base' has no complete run"):
        compare_arms({"base": [None], "other": arms["same"][:1]})
    with pytest.raises(YoloAttnError, match="0 targets are too few"):
        compare_arms({"a": [Matches(5, [], [], [], np.zeros((0, 10)), [], [])]})
    with pytest.raises(YoloAttnError, match="matches at 1 IoU thresholds; give 10"):
        compare_arms({"a": [Matches(2, [0], [0], [0.5], [[True]], [0], [0])]}, workers=1)


def test_identical_arms_do_not_differ(arms):
    found = compare_arms({"a": arms["base"], "b": arms["base"]}, replicates=20, workers=1)
    d = found.arms["b"].differences["mAP50-95"]
    assert (d.estimate, d.low, d.high, d.se, d.p, d.p_permutation, d.verdict) == (0, 0, 0, 0, 1, 1, "not significant")


def test_lists_will_do():
    record = Matches(2, [0, 1], [0, 0], [0.9, 0.3], [[True] * 10, [False] * 10], [0, 1], [0, 0])
    found = compare_arms({"a": [record, record], "b": [record, record]}, replicates=10, workers=1)
    assert list(found.arms["a"].metrics) == METRICS[:3]
    assert difference(np.array([0.1, 0.1]), np.full((10, 2), 0.1), 5).estimate == pytest.approx(0.1)
