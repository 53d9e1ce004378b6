"""Look things up in the summary of a comparison, of which any part may be missing or ``None``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Summary = Mapping[str, Any]
Arm = Mapping[str, Any]


def look(part: Any, *keys: str) -> Any:
    """Follow keys into nested mappings; ``None`` where one is missing.

    Examples:
        >>> look({"a": {"b": 1}}, "a", "b"), look({"a": None}, "a", "b")
        (1, None)
    """
    for key in keys:
        part = part.get(key) if isinstance(part, Mapping) else None
    return part


def arms(summary: Summary) -> list[Arm]:
    """Return all arms, in the order of the plan."""
    return list(look(summary, "arms") or [])


def baseline(summary: Summary) -> Arm | None:
    """Return the arm the others are compared with, if it is there."""
    return next((a for a in arms(summary) if a["name"] == look(summary, "baseline")), None)


def baseline_name(summary: Summary) -> str:
    """Return the baseline's name, to be put into a sentence."""
    return look(summary, "baseline") or "the baseline"


def compared(summary: Summary) -> list[Arm]:
    """Return all arms but the baseline."""
    return [a for a in arms(summary) if a["name"] != look(summary, "baseline")]


def metrics(summary: Summary) -> list[str]:
    """Return the names of the metrics, the decisive one first."""
    stated = look(summary, "metrics")
    return list(stated or dict.fromkeys(m for a in arms(summary) for m in look(a, "metrics") or {}))


def primary(summary: Summary) -> str:
    """Return the name of the metric the comparison decides by."""
    return next(iter(metrics(summary)), "mAP50-95")


def mean(arm: Arm | None, metric: str) -> float | None:
    """Return an arm's mean over its seeds."""
    return look(arm, "metrics", metric, "mean")


def difference(arm: Arm, metric: str) -> Mapping[str, Any] | None:
    """Return an arm's difference to the baseline, where there is an estimate of it."""
    found = look(arm, "difference", metric)
    return found if look(found, "estimate") is not None else None


def is_complete(arm: Arm) -> bool:
    """Tell whether at least one run of an arm is complete."""
    return bool(arm.get("seeds")) and bool(arm.get("metrics"))


def measurements(summary: Summary) -> list[Mapping[str, Any]]:
    """Return all measurements of speed in which at least one arm was timed."""
    return [m for m in look(summary, "speed", "measurements") or [] if look(m, "arms")]


def main_measurement(summary: Summary) -> Mapping[str, Any] | None:
    """Return the measurement of speed that stands beside mAP: the smallest batch, fp32 where there is one."""
    ranked = sorted(measurements(summary), key=lambda m: (m.get("batch") or 1, m.get("precision") != "fp32"))
    return ranked[0] if ranked else None


def setting(measurement: Mapping[str, Any]) -> str:
    """Name a measurement of speed by its batch and precision, e.g. ``"batch 1, fp32"``."""
    return ", ".join(filter(None, [f"batch {measurement.get('batch') or 1}", measurement.get("precision")]))


def paired_seeds(arm: Arm, summary: Summary) -> list[int]:
    """Return the seeds an arm shares with the baseline, in the arm's order."""
    shared = set(look(baseline(summary), "seeds") or [])
    return [s for s in look(arm, "seeds") or [] if s in shared]
