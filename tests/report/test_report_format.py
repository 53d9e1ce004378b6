"""Formatting of numbers in the report, against hand-written text."""

from dataclasses import replace

import pytest
from support.report_example import built, example

from yolo_attn.report import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00124, "+0.0012"), (-0.00126, "−0.0013"), (0.0, "0.0000"), (-0.00001, "0.0000"), (1.5, "+1.5000"), (None, "–")],
)
def test_signed_numbers(value, text):
    assert formatting.number(value, sign=True) == text


@pytest.mark.parametrize(
    ("ratio", "low", "high", "text"),
    [
        (1.117, 1.113, 1.122, "11.7 % slower [11.3, 12.2]"),
        (1.04, 1.03, 1.05, "4.0 % slower [3.0, 5.0]"),
        (0.9, 0.85, 0.95, "10 % faster [5, 15]"),
        (1.004, 0.99, 1.02, "+0.4 % [−1.0, +2.0]"),
        (2.5, 2.0, 3.0, "150 % slower [100, 200]"),
        (1.0, 1.0, 1.0, "0.0 % [0.0, 0.0]"),
    ],
)
def test_ratios_in_percent(ratio, low, high, text):
    assert formatting.time_change(ratio, low, high) == text


@pytest.mark.parametrize("value", [0.123456, -3.21, 117.3])
@pytest.mark.parametrize("half", [0.00021, 0.0019, 0.0021, 0.0079, 0.3, 0.449, 0.5, 2.0, 9.99, 150.0])
@pytest.mark.parametrize("skew", [1.0, 3.0])
def test_the_digits_tell_an_estimate_from_its_bounds_and_no_more(value, half, skew):
    interval = value, value - half, value + skew * half
    digits = formatting.decimals([interval])
    shown = [formatting.number(v, digits) for v in interval]
    assert len(set(shown)) == 3, shown
    if digits:
        assert half < 20.001 * 10**-digits, "a digit too many"


def test_a_column_has_the_digits_of_its_narrowest_interval():
    assert formatting.decimals([(0.1, 0.05, 0.15), (0.1, 0.0985, 0.102)]) == 4
    assert formatting.decimals([(0.1, None, None), (0.0, 0.0, 0.0)], otherwise=2) == 2


@pytest.mark.parametrize(
    ("p", "text"), [(0.05, "0.050"), (0.00099, "< 0.001"), (0.0, "< 0.001"), (0.9999, "1"), (None, "–")]
)
def test_p_values(p, text):
    assert formatting.p_value(p) == text


@pytest.mark.parametrize(
    ("value", "text"), [(6.614, "6.61"), (0.5, "0.5"), (99.96, "100"), (192.3, "192"), (1788.2, "1,788"), (None, "–")]
)
def test_three_significant_digits_without_powers_of_ten(value, text):
    assert formatting.significant(value) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.0001, 0.006, "[+0.000, +0.006]"), (-0.0499, -0.0001, "[−0.050, −0.000]"), (-1e-17, 0.0, "[0.000, 0.000]")],
)
def test_a_bound_beside_0_says_on_which_side_it_is(low, high, text):
    assert formatting.interval(low, high, 3, sign=True) == text


def test_an_interval_needs_both_bounds():
    assert formatting.with_interval(0.1, None, 0.2, digits=1) == "0.1"
    assert formatting.with_interval(0.1, 0.0, 0.2, digits=1) == "0.1 [0.0, 0.2]"


@pytest.mark.parametrize(("level", "name"), [(0.95, "95 % interval"), (0.995, "99.5 % interval"), (None, "interval")])
def test_the_level_is_the_summarys(level, name):
    results = built(example(arms=1))
    bootstrap = replace(results.bootstrap, level=level) if level else None
    assert formatting.interval_name(replace(results, bootstrap=bootstrap)) == name
