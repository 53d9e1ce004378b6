"""Results of a comparison as CSV: one row per model and metric, with the values of every seed."""

from __future__ import annotations

import csv
import io

from yolo_attn.report.results import ArmResult, Results

_DIFFERENCE = (
    "estimate", "low", "high", "se", "df", "p", "p_holm", "p_permutation", "p_permutation_holm", "permutation_floor",
    "verdict", "detectable",
)  # fmt: skip


def to_csv(results: Results) -> str:
    """Return the results as CSV, unrounded; a cell without a value is empty.

    The columns ``seed_N`` hold a model's values, ``difference_seed_N`` its differences to the baseline.
    """
    seeds = sorted({seed for arm in results.arms for seed in arm.seeds})
    fixed = ["model", "kind", "parameters", "gflops", "metric", "seeds", "mean", "sd", *map(_column, _DIFFERENCE)]
    each = [f"seed_{s}" for s in seeds] + [f"difference_seed_{s}" for s in seeds]
    held = io.StringIO()
    table = csv.DictWriter(held, [*fixed, *each], lineterminator="\n")
    table.writeheader()
    for arm in results.arms:
        table.writerows(_row(results, arm, metric) for metric in results.metrics)
    return held.getvalue()


def _row(results: Results, arm: ArmResult, metric: str) -> dict[str, object]:
    row: dict[str, object] = {"model": arm.name, "metric": metric, "seeds": len(arm.seeds)}
    row |= {name: getattr(arm, name) for name in ("kind", "parameters", "gflops")}
    if values := arm.metrics.get(metric):
        row |= {"mean": values.mean, "sd": values.sd}
        row |= {f"seed_{s}": v for s, v in zip(arm.seeds, values.by_seed, strict=True)}
    if found := arm.difference.get(metric):
        row |= {_column(name): getattr(found, name) for name in _DIFFERENCE}
        pairs = zip(results.paired_seeds(arm), found.by_seed, strict=True)
        row |= {f"difference_seed_{s}": v for s, v in pairs}
    return row


def _column(name: str) -> str:
    return name if name.startswith(("p", "v")) else f"difference_{name}"
