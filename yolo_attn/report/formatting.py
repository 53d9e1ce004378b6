"""Format numbers for the report: fixed digits, a true minus sign, and a dash for a missing number."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_attn.evaluate.differences import ClassDifference, Difference
from yolo_attn.report.parts import Muted, Part
from yolo_attn.report.results import Results

MISSING = "–"
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
    """Return ``[low, high]``, or an empty string if a bound is missing."""
    if low is None or high is None:
        return ""
    return f"[{number(low, digits, sign)}, {number(high, digits, sign)}]"


def with_interval(
    value: float | None, low: float | None, high: float | None, digits: int = 4, sign: bool = False
) -> str:
    """Return a number followed by its interval, if known.

    Examples:
        >>> with_interval(0.0012, -0.004, 0.006, digits=3, sign=True)
        '+0.001 [−0.004, +0.006]'
    """
    return f"{number(value, digits, sign)} {interval(low, high, digits, sign)}".rstrip()


def estimate(difference: Difference | ClassDifference | None, digits: int = 4) -> str:
    """Return a difference with its interval, or a dash where there is none."""
    return (
        with_interval(difference.estimate, difference.low, difference.high, digits, sign=True)
        if difference
        else MISSING
    )


def apart(text: str) -> list[Part]:
    """Split text into a number and the interval or spread after it, which is muted."""
    value, space, rest = text.partition(" ")
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


def slowdown_interval(low: float, high: float) -> str:
    """Return the interval of a time ratio in percent, for use after :func:`slower_or_faster`.

    Examples:
        >>> slowdown_interval(1.031, 1.054), slowdown_interval(0.8, 0.96), slowdown_interval(0.99, 1.02)
        ('[3.1, 5.4]', '[4.0, 20]', '[−1.0, +2.0]')
    """
    if low <= 1 <= high:
        return f"[{percent(low - 1, sign=True)}, {percent(high - 1, sign=True)}]"
    near, far = sorted([abs(low - 1), abs(high - 1)])
    return f"[{percent(near)}, {percent(far)}]"


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
