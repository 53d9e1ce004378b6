"""Cells that several tables of the report have."""

from __future__ import annotations

from yolo_attn.report.formatting import MISSING, apart, number
from yolo_attn.report.names import is_control
from yolo_attn.report.parts import Muted, Part, Strong
from yolo_attn.report.results import ArmResult, Results


def named(results: Results, arm: ArmResult) -> list[Part]:
    """Return the name of a model, with its role if it is the baseline or a control."""
    marked = arm.name == results.baseline or is_control(arm)
    return [Strong(arm.name), Muted(f" {arm.kind}")] if marked else [Strong(arm.name)]


def mean_and_sd(arm: ArmResult, metric: str, digits: int) -> list[Part]:
    """Return the mean of a metric with its standard deviation over the seeds."""
    if metric not in arm.metrics:
        return [MISSING]
    values = arm.metrics[metric]
    return apart(number(values.mean, digits) + (f" ± {number(values.sd, digits)}" if values.sd is not None else ""))


def seeds_note(results: Results, arm: ArmResult) -> list[Part]:
    """Return how many seeds a model has where it has fewer than planned, else nothing."""
    planned = len(results.protocol.seeds) if results.protocol else len(arm.seeds)
    return [Muted(f" {len(arm.seeds)} of {planned} seeds")] if 0 < len(arm.seeds) < planned else []
