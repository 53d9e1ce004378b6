"""The variance between seeds of several arms, each known with the help of the others; and the verdicts that follow."""

import numpy as np
import pytest
from instruments.verdicts import NOISE, UNEQUAL, Comparison, adjusted, check, draw, p_values, rates
from scipy import special, stats
from support.tiers import sampled

from yolo_attn.evaluate.intervals import holm
from yolo_attn.evaluate.spread import HETEROGENEITY, moderated, moderated_arrays, of_sample, scaled_chi_squared


@pytest.mark.parametrize("df", [1, 2, 4.5, 12, 29, 30, 99, 1500])
def test_scaled_chi_squared(df):
    found = scaled_chi_squared(df)
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights @ found.values == pytest.approx(1)
    for power_of in (-0.2, 0.5, 2):
        expected = stats.chi2(df).expect(lambda x, p=power_of: (x / df) ** p)
        assert found.weights @ found.values**power_of == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("df", [1, 2, 29, 30, 44, 59, 100, 599, 2000])
def test_a_normal_over_its_root_is_student(df):
    found = scaled_chi_squared(df)
    for t in (0.1, 1, 2, 3, 5, 8):
        assert found.weights @ special.erfc(t * np.sqrt(found.values / 2)) == pytest.approx(
            2 * stats.t(df).sf(t), rel=1e-9, abs=1e-10
        )


def test_one_arm_is_its_sample():
    (found,) = moderated([3.0], [2])
    assert (found.variance, found.df) == pytest.approx((3.0, 2.0))
    assert of_sample(2.0, 7).df == pytest.approx(7)


def test_two_arms_by_drawing_from_the_model():
    """Draw spreads from the prior, and weigh each by how probable the two sample variances are under it."""
    variances, df, rng, size = np.array([1.0, 4.0]), np.array([2, 3]), np.random.default_rng(0), 2_000_000
    deviation = np.abs(rng.normal(0, HETEROGENEITY, size))
    mean = rng.uniform(-8, 10, size)
    log = mean + deviation * rng.normal(size=(2, size))
    ratio = np.log(variances)[:, None] - log
    weights = np.exp((df[:, None] / 2 * (ratio - np.exp(ratio) + 1)).sum(0))
    for found, values in zip(moderated(variances.tolist(), df.tolist()), log, strict=True):
        assert found.variance == pytest.approx(1 / np.average(np.exp(-values), weights=weights), rel=0.03)
        assert found.weights @ np.log(found.values) == pytest.approx(np.average(values, weights=weights), abs=0.03)


def test_arms_that_are_alike_know_more_of_their_spread_together():
    alone, few, many = (moderated([2.0] * arms, [2] * arms)[0] for arms in (1, 3, 12))
    assert [s.variance for s in (alone, few, many)] == pytest.approx([2.0] * 3, rel=0.1)
    assert alone.df < few.df < many.df < 12 * 2


def test_spreads_are_drawn_towards_each_other_in_order_and_in_any_unit():
    given = [0.1, 1.0, 1.5, 30.0]
    found = [s.variance for s in moderated(given, [3] * 4)]
    assert found == sorted(found)
    assert found[0] > given[0]
    assert found[3] < given[3]
    assert found[3] / found[0] > 10
    assert [s.variance for s in moderated([1e-6 * v for v in given], [3] * 4)] == pytest.approx(
        [1e-6 * v for v in found]
    )


def test_many_comparisons_at_once_are_each_by_itself():
    variances = np.random.default_rng(0).chisquare(2, (2, 3, 4))
    values, weights = moderated_arrays(variances, np.full(4, 2))
    for k in np.ndindex(2, 3):
        for arm, spread in enumerate(moderated(variances[k].tolist(), [2] * 4)):
            assert values[k] == pytest.approx(spread.values, rel=1e-12)
            assert weights[k][arm] == pytest.approx(spread.weights, rel=1e-9, abs=1e-15)


CELLS = [Comparison(s, n, noise) for s in (2, 3, 5) for n in (1, 6) for noise in ("normal", "failing")]
CELLS += [Comparison(s, 6, spreads=spreads) for s in (2, 3, 5) for spreads in UNEQUAL.values()]


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        (Comparison(2, 1), 0.5),
        (Comparison(3, 1, "failing"), 1.0),
        (Comparison(2, 3, "heavy-tailed"), 0.0),
        (Comparison(5, 3, "heavy-tailed"), 0.9),
        (Comparison(3, 6, spreads=UNEQUAL["from 0.4 to 2.6 times"], effect=4.0), 0.95),
        (Comparison(2, 12), 1.0),
    ],
    ids=str,
)
def test_p_values_of_many_comparisons_are_those_of_the_package(kind, share):
    sample = draw(kind, 4, np.random.default_rng(0))
    together, alone = p_values(sample, share, True), p_values(sample, share, False)
    check(sample, share, together, alone, 4, 4)
    for wrong in (together + 1e-6, alone), (together, alone + 1e-6):
        with pytest.raises(AssertionError):
            check(sample, share, *wrong, 4, 4)


def test_holm_over_many_comparisons():
    p = np.random.default_rng(0).random((50, 7)) ** 3
    assert adjusted(p) == pytest.approx(np.array([holm(of.tolist()) for of in p]), abs=1e-15)


@pytest.mark.parametrize("noise", NOISE)
def test_simulated_differences_have_a_variance_of_1_shared_by_half(noise):
    sample = draw(Comparison(3, 2, noise, effect=4.0), 10_000, np.random.default_rng(0))
    for share in (0.0, 0.5, 1.0):
        estimate = sample.estimate(share)
        assert estimate.mean(0) == pytest.approx([4, 0], abs=0.05)
        assert np.cov(estimate.T) == pytest.approx(np.array([[1, 0.5], [0.5, 1]]), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", sampled(CELLS, lambda kind: kind in (Comparison(2, 6), Comparison(3, 6)), "slow"), ids=str
)
def test_verdicts_are_seldom_false(kind):
    """Of 1,000 comparisons in which nothing differs, 5 % and two standard errors at most have a verdict."""
    for found in rates(kind, [0.95], 1000)[0.95]:
        assert found.verdicts <= 6.4
        assert found.held >= 94


@pytest.mark.slow
def test_more_arms_cost_little_power():
    """A difference of four standard errors, three seeds: one arm finds it in half of the comparisons, and so do six."""
    one, six = (rates(Comparison(3, arms, effect=4.0), [0.95], 1000)[0.95] for arms in (1, 6))
    assert one[0].found > 45
    assert six[0].found > 45
    assert six[1].found < six[0].found - 10  # where the spread is not shared
