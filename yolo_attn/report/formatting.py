"""Format numbers for the report: fixed digits, a true minus sign, and a dash for a missing number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from yolo_attn.evaluate.differences import ClassDifference, Difference
from yolo_attn.report.parts import Muted, Part
from yolo_attn.report.results import Results, Timing

MISSING = "–"
_NOISE = 1e-9
ARROWS = {"better": "▲ better", "worse": "▼ worse", "not significant": "○ not significant"}


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """Return a number with fixed digits.

    Examples:
        >>> number(-0.00123, sign=True), number(0.0, sign=True), number(None)
        ('−0.0012', '0.0000', '–')
    """
    if value is None:
        return MISSING
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.lstrip("+-") if not float(text) else text.replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 4, sign: bool = False) -> str:
    """Return ``[low, high]``, or an empty string if a bound is missing; a signed bound near 0 says on which side it is.

    Examples:
        >>> interval(-0.0004, 0.006, digits=3, sign=True), interval(0.0, 0.0, digits=3, sign=True)
        ('[−0.000, +0.006]', '[0.000, 0.000]')
    """
    if low is None or high is None:
        return ""
    return f"[{_bound(low, digits, sign)}, {_bound(high, digits, sign)}]"


def _bound(value: float, digits: int, sign: bool) -> str:
    text = number(value, digits, sign)
    side = ("+" if value > 0 else "−") if sign and abs(value) > _NOISE else ""
    return text if text[0] in "+−" else side + text


def with_interval(
    value: float | None, low: float | None, high: float | None, digits: int = 4, sign: bool = False
) -> str:
    """Return a number followed by its interval, if known.

    Examples:
        >>> with_interval(0.0012, -0.004, 0.006, digits=3, sign=True)
        '+0.001 [−0.004, +0.006]'
    """
    return f"{number(value, digits, sign)} {interval(low, high, digits, sign)}".rstrip()


def decimals(intervals: Iterable[tuple[float, float | None, float | None]], otherwise: int = 4) -> int:
    """Return the decimals that estimates with intervals are printed with.

    Even the narrowest interval reaches two units of the last decimal to either side, so that no bound is printed equal
    to its estimate; more decimals would be noise.

    Args:
        intervals: Estimates with their lower and upper bounds; those without a width are left out.
        otherwise: Decimals where no interval has a width.

    Examples:
        >>> decimals([(11.7, 11.3, 12.2)]), decimals([(-0.0014, -0.0093, 0.0064)]), decimals([(0.0, 0.0, 0.0)])
        (1, 3, 4)
    """
    halves = [min(x - low, high - x) for x, low, high in intervals if low is not None and high is not None]
    needed = [math.ceil(math.log10(2 / half)) for half in halves if half > _NOISE]
    return min(max(0, *needed), 6) if needed else otherwise


def estimate(difference: Difference | ClassDifference | None, digits: int | None = None) -> str:
    """Return a difference with its interval, or a dash where there is none; its digits are those of the interval."""
    if difference is None:
        return MISSING
    bounds = difference.estimate, difference.low, difference.high
    return with_interval(*bounds, decimals([bounds]) if digits is None else digits, sign=True)


def bounds(differences: Iterable[Difference | ClassDifference]) -> list[tuple[float, float | None, float | None]]:
    """Return estimates with their bounds, for :func:`decimals`."""
    return [(d.estimate, d.low, d.high) for d in differences]


def bounds_of_ratio(timed: Timing) -> tuple[float, float, float]:
    """Return a time ratio with its bounds, for :func:`decimals`."""
    return timed.ratio, timed.ratio_low, timed.ratio_high


def time_change(ratio: float, low: float, high: float) -> str:
    """Return a time ratio with its interval in percent; signed where the interval holds 0.

    Examples:
        >>> time_change(1.117, 1.113, 1.122), time_change(0.9, 0.85, 0.95), time_change(1.002, 0.996, 1.009)
        ('11.7 % slower [11.3, 12.2]', '10 % faster [5, 15]', '+0.2 % [−0.4, +0.9]')
    """
    change = [100 * (value - 1) for value in (ratio, low, high)]
    digits = decimals([(change[0], change[1], change[2])], otherwise=1)
    if change[1] <= 0 <= change[2]:
        return f"{number(change[0], digits, sign=True)} % {interval(change[1], change[2], digits, sign=True)}"
    near, far = sorted([abs(change[1]), abs(change[2])])
    word = "slower" if ratio > 1 else "faster"
    return f"{number(abs(change[0]), digits)} % {word} {interval(near, far, digits)}"


def apart(text: str) -> list[Part]:
    """Split text into a number and the interval, range or spread after it, which is muted."""
    mark = " [" if " [" in text else " (" if " (" in text else " "
    value, space, rest = text.partition(mark)
    return [value, Muted(space + rest)] if rest else [value]


def p_value(value: float | None) -> str:
    """Return a p-value with three digits.

    Examples:
        >>> p_value(0.0123), p_value(0.0002), p_value(1.0), p_value(None)
        ('0.012', '< 0.001', '1', '–')
    """
    if value is None:
        return MISSING
    if value < 0.001:
        return "< 0.001"
    return "1" if value >= 0.9995 else f"{value:.3f}"


def count(value: float | None) -> str:
    """Return an integer with thousands separators."""
    return MISSING if value is None else f"{value:,.0f}"


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, without exponent.

    Examples:
        >>> significant(6.4871), significant(1234.5), significant(0.01234)
        ('6.49', '1,234', '0.0123')
    """
    if value is None:
        return MISSING
    before = len(f"{abs(value):.0f}") if abs(value) >= 1 else 0
    return f"{value:,.{max(digits - before, 0)}f}" if before else f"{value:.{digits}g}"


def slower_or_faster(ratio: float) -> str:
    """Return a time ratio as a percentage, e.g. ``4.2 % slower``.

    Examples:
        >>> slower_or_faster(1.042), slower_or_faster(0.9), slower_or_faster(1.3)
        ('4.2 % slower', '10 % faster', '30 % slower')
    """
    return f"{percent(abs(ratio - 1))} % {'slower' if ratio >= 1 else 'faster'}"


def percent(fraction: float, sign: bool = False) -> str:
    """Return a fraction in percent, with one decimal below 10 %."""
    return number(100 * fraction, digits=1 if abs(fraction) < 0.0995 else 0, sign=sign)


def interval_name(results: Results) -> str:
    """Return ``"95 % interval"``, with the level of the results."""
    return f"{100 * results.bootstrap.level:g} % interval" if results.bootstrap else "interval"


def listing(names: Sequence[str], most: int = 4) -> str:
    """Join names as in a sentence; names beyond ``most`` are counted.

    Examples:
        >>> listing(["a"]), listing(["a", "b", "c"]), listing(list("abcdef"), most=2)
        ('a', 'a, b and c', 'a, b and 4 others')
    """
    if len(names) > most + 1:
        names = [*names[:most], f"{len(names) - most} others"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "none"


def plural(amount: int, word: str) -> str:
    """Return ``"1 model"``, ``"2 models"``."""
    return f"{amount:,} {word}{'' if amount == 1 else 's'}"


def with_range(value: float, low: float, high: float) -> str:
    """Return a time with the range of 90 % of the values, in parentheses as it is no confidence interval.

    Examples:
        >>> with_range(13.43, 13.21, 13.66), with_range(5.213, 5.15, 5.5)
        ('13.4 (13.2–13.7)', '5.21 (5.15–5.50)')
    """
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{number(value, digits)} ({number(low, digits)}–{number(high, digits)})"
