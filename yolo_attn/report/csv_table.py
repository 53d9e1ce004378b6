"""The numbers of a comparison as CSV: one row per model and metric, with the values of every seed."""

from __future__ import annotations

import csv
import io

from yolo_attn.report.read import Arm, Summary, arms, difference, look, metrics, paired_seeds

_DIFFERENCE = (
    "estimate", "low", "high", "se", "df", "p", "p_holm", "p_permutation", "p_permutation_holm", "permutation_floor",
    "verdict", "detectable",
)  # fmt: skip


def to_csv(summary: Summary) -> str:
    """Return the table; unrounded, an empty cell where there is no value.

    The columns ``seed_N`` hold a model's values, ``difference_seed_N`` its differences to the baseline.
    """
    seeds = sorted({s for arm in arms(summary) for s in look(arm, "seeds") or []})
    fixed = ["model", "kind", "parameters", "gflops", "metric", "seeds", "mean", "sd"]
    fixed += [k if k.startswith(("p", "v")) else f"difference_{k}" for k in _DIFFERENCE]
    each = [f"seed_{s}" for s in seeds] + [f"difference_seed_{s}" for s in seeds]
    held = io.StringIO()
    table = csv.DictWriter(held, [*fixed, *each], lineterminator="\n")
    table.writeheader()
    for arm in arms(summary):
        table.writerows(_row(summary, arm, metric) for metric in metrics(summary))
    return held.getvalue()


def _row(summary: Summary, arm: Arm, metric: str) -> dict[str, object]:
    row = {"model": arm["name"], "metric": metric, "seeds": len(look(arm, "seeds") or [])}
    row |= {key: arm.get(key) for key in ("kind", "parameters", "gflops")}
    row |= {key: look(arm, "metrics", metric, key) for key in ("mean", "sd")}
    values = look(arm, "metrics", metric, "by_seed") or []
    row |= {f"seed_{s}": v for s, v in zip(arm["seeds"], values, strict=True)} if values else {}
    if found := difference(arm, metric):
        row |= {k if k.startswith(("p", "v")) else f"difference_{k}": found.get(k) for k in _DIFFERENCE}
        by_seed = found.get("by_seed") or []
        row |= (
            {f"difference_seed_{s}": v for s, v in zip(paired_seeds(arm, summary), by_seed, strict=True)}
            if by_seed
            else {}
        )
    return row
