"""Order and short names of the models of a comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

from yolo_attn.report.results import ArmResult, Results

MOST = 28


def is_control(arm: ArmResult) -> bool:
    """Return whether a model is a control."""
    return "control" in arm.kind


def ordered(results: Results) -> list[ArmResult]:
    """Return the baseline, the other models from the best to the worst estimate, and the controls likewise."""
    return sorted(results.arms, key=lambda arm: _place(results, arm))


def _place(results: Results, arm: ArmResult) -> tuple[bool, bool, bool, float]:
    found = arm.difference.get(results.primary)
    return arm.name != results.baseline, is_control(arm), found is None, -found.estimate if found else 0.0


def dropped_prefix(results: Results) -> str:
    """Return what the names of all models but the baseline begin with, up to a separator."""
    names = [arm.name for arm in results.compared]
    found = re.match(r".*[-_/ .]", names[0][: _common(names)]) if len(names) > 1 else None
    return found[0] if found else ""


def short_names(results: Results, most: int = MOST) -> dict[str, str]:
    """Return short and distinct names for plots, by name; the common prefix of all but the baseline is dropped."""
    prefix = dropped_prefix(results)
    names = [arm.name for arm in results.arms]
    bare = [name if name == results.baseline else name.removeprefix(prefix) for name in names]
    return dict(zip(names, distinct(bare, most), strict=True))


def distinct(names: Sequence[str], most: int = MOST) -> list[str]:
    """Shorten names in the middle to ``most`` characters; where that makes them equal, keep the part that differs.

    Examples:
        >>> distinct(["a very long name", "short"], most=9), distinct(["attention-1-neck", "attention-2-neck"], most=9)
        (['a ve…name', 'short'], ['att…1…eck', 'att…2…eck'])
    """
    names = [" ".join(name.split()) for name in names]
    short = [shorten(name, most) for name in names]
    for same in [text for text, times in Counter(short).items() if times > 1]:
        group = [name for name, text in zip(names, short, strict=True) if text == same]
        around = {name: _around_difference(name, group, most) for name in group}
        short = [around.get(name, text) for name, text in zip(names, short, strict=True)]
    return short if len(set(short)) == len(set(names)) else list(names)


def _common(names: Sequence[str]) -> int:
    """Return how many characters all names begin with in common."""
    return sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))


def _around_difference(name: str, group: Sequence[str], most: int) -> str:
    start = _common(group)
    end = _common([other[start:][::-1] for other in group])
    kept = most // 3
    before, after = name[:start], name[len(name) - end :] if end else ""
    middle = name[start : len(name) - end]
    before = before if len(before) <= kept else f"{before[:kept]}…"
    return before + middle + (after if len(after) <= kept else f"…{after[-kept:]}")


def shorten(name: str, most: int) -> str:
    """Shorten a name in the middle to at most ``most`` characters.

    Examples:
        >>> shorten("yolo11n", 9), shorten("a very long name", 9)
        ('yolo11n', 'a ve…name')
    """
    keep = most // 2
    return name if len(name) <= most else f"{name[: most - keep - 1]}…{name[-keep:]}"
