"""Leave out of a record of detections what no average precision depends on.

Precision and recall change with the order of the detections of a class, and only where a true positive is found: of the
false positives between two true positives, their number in each image counts (a bootstrap draws images), but not their
order; those after the last true positive do not count at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np

from yolo_attn.evaluate.coco_ap import Boxes, CocoMatches
from yolo_attn.evaluate.matches import SIZES, Matches

R = TypeVar("R", Matches, CocoMatches)


def condense(matches: Matches, tail: Literal["drop", "ramp"] = "drop") -> Matches:
    """Return matches with the same average precisions, of ``SIZES`` and of all bootstrap samples, in less space.

    The confidence becomes a rank within the class, and areas become others of the same size.

    Args:
        matches: Matched detections.
        tail: Precision curve they are for; with ``ramp``, false positives after the last true positive count as well.
    """
    found = np.asarray(matches.correct.any(1))
    if matches.ignored is not None:
        found |= matches.ignored.any(1)
    kept = _only_what_counts(matches, found, ("correct", "ignored", "target", "area"), beyond=tail == "ramp")
    areas = {name: getattr(kept, name) for name in ("area", "target_area")}
    condensed: dict[str, Any] = {name: _of_same_size(held) for name, held in areas.items() if held is not None}
    return replace(kept, **condensed)


def match_and_condense(boxes: Boxes) -> CocoMatches:
    """Match boxes as COCO does; return matches with the same average precisions in less space."""
    matches = boxes.matched()
    return _only_what_counts(matches, np.asarray(matches.matched.any((1, 2))), ("matched", "foreign", "outside"))


def _only_what_counts(record: R, found: np.ndarray, names: tuple[str, ...], beyond: bool = False) -> R:
    """Return a record with the detections that count, ranked, and with their values of ``names``."""
    kept, rank = _ranked(record.cls, record.confidence, record.image, found, beyond)
    held = {name: getattr(record, name) for name in ("image", "cls", *names)}
    changed: dict[str, Any] = {name: None if values is None else values[kept] for name, values in held.items()}
    return replace(record, **changed, confidence=rank)


def _ranked(
    cls: np.ndarray, confidence: np.ndarray, image: np.ndarray, found: np.ndarray, beyond: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections count, and their ranks, which are equal where the order does not count.

    Args:
        cls: Class of each detection. Shape ``(D,)``.
        confidence: Confidence of each detection. Shape ``(D,)``.
        image: Image index of each detection. Shape ``(D,)``.
        found: Whether each detection is matched with a target, under some condition. Shape ``(D,)``.
        beyond: Whether those after the last one that is matched count, in classes where one is.

    Returns:
        Indices of the detections by class, and a number for each, the higher the more confident.
    """
    order = np.lexsort((-confidence, cls))  # stable, as the ranking of average precision
    cls, found = cls[order], found[order]
    upto = np.cumsum(found)
    first, last = np.searchsorted(cls, cls, "left"), np.searchsorted(cls, cls, "right") - 1
    before = np.append(0, upto)[first]
    total = upto[last] - before if len(cls) else upto
    step = 2 * (upto - before) - found  # odd for a match, even for all between two of them
    kept = (total > 0) if beyond else (step < 2 * total)
    order, step, cls = order[kept], step[kept], cls[kept]
    again = np.lexsort((image[order], step, cls))
    return order[again], (step.max(initial=0) - step[again]).astype(np.float32)


def _of_same_size(area: np.ndarray) -> np.ndarray:
    """Return whole numbers that lie in the same ranges of ``SIZES`` as the areas, both ends included."""
    ends = np.array([high for _, high in SIZES.values() if np.isfinite(high)], int)
    between = np.array([0, *ends]) + np.array([*ends, 4 * ends[-1]])
    values = np.empty(2 * len(ends) + 1, int)
    values[::2], values[1::2] = between // 2, ends
    found: np.ndarray = values[np.searchsorted(ends, area, "left") + np.searchsorted(ends, area, "right")]
    return found
