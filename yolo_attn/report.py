"""Read the stored results of a comparison and write them as one table, Markdown and JSON. Nothing is measured here."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from yolo_attn import runs
from yolo_attn.env import describe
from yolo_attn.errors import YoloAttnError

_METRICS = ("mAP50", "mAP50-95")


def summarize(out: str | Path) -> dict[str, Any]:
    """Collect a comparison's results.

    Args:
        out: The comparison's folder.

    Returns:
        Per arm parameters, GFLOPs, each metric per seed with its mean, latency; and what they were obtained with.

    Raises:
        YoloAttnError: If the folder holds no comparison.
    """
    out = Path(out)
    try:
        plan = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise YoloAttnError(f"'{out}' holds no comparison: there is no plan.json in it") from error
    folders = [out / "runs" / name for name in plan["runs"]]
    specs = [runs.read_spec(f) for f in folders if (f / runs.SPEC).is_file()]
    stored = {s.folder_name: runs.read_result(s, out / "runs") for s in specs}
    results = [{**result, "run": folder} for folder, result in stored.items() if result is not None]
    latency = json.loads((out / "latency.json").read_text()) if (out / "latency.json").is_file() else {}
    return {
        "arms": [_arm(name, [r for r in results if r["arm"] == name], latency) for name in plan["arms"]],
        "runs": {"planned": len(folders), "complete": len(results)},
        "protocol": _protocol(specs[0]) if specs else {},
        "environment": results[0]["environment"] if results else {},
        "latency": {k: latency.get(k) for k in ("device", "imgsz", "batch")},
    }


def write(out: str | Path) -> str:
    """Write ``report.md`` and ``report.json`` into a comparison's folder and return the Markdown."""
    out = Path(out)
    summary = summarize(out)
    text = to_markdown(summary)
    runs.write_json(out / "report.json", summary)
    (out / "report.md").write_text(text, encoding="utf-8")
    return text


def to_markdown(summary: dict[str, Any]) -> str:
    """Return the table, and under it what it was obtained with and what it does not say."""
    head = ["model", "params, M", "GFLOPs"]
    for metric in _METRICS:
        head += [f"{metric}, by seed", f"{metric}, mean"]
    head.append("latency, ms, median [p5, p95]")
    rows = [head, ["---"] * len(head), *(_row(arm) for arm in summary["arms"])]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *_notes(summary)]) + "\n"


def _arm(name: str, results: list[dict[str, Any]], latency: dict[str, Any]) -> dict[str, Any]:
    arm: dict[str, Any] = {"model": name, "seeds": [r["seed"] for r in results], "runs": [r["run"] for r in results]}
    if results:
        arm.update(parameters=results[0]["parameters"], gflops=results[0]["gflops"])
        for metric in _METRICS:
            values = [r["metrics"][metric] for r in results]
            arm[metric] = {"by_seed": values, "mean": statistics.fmean(values)}
        arm["train_seconds"] = [r["train_seconds"] for r in results]
    if times := latency.get("milliseconds", {}).get(name):
        cuts = statistics.quantiles(times, n=20, method="inclusive")
        arm["latency_ms"] = {"median": statistics.median(times), "p5": cuts[0], "p95": cuts[-1], "rounds": len(times)}
    return arm


def _protocol(spec: runs.RunSpec) -> dict[str, Any]:
    return {
        "data": Path(spec.data).name,
        "data_checksum": spec.data_checksum,
        "weights": Path(spec.weights).name if spec.weights else None,
        "weights_checksum": spec.weights_checksum,
        "overrides": dict(spec.overrides),
    }


def _row(arm: dict[str, Any]) -> list[str]:
    if "parameters" not in arm:
        return [arm["model"], "no complete run", *[""] * 6]
    row = [arm["model"], f"{arm['parameters'] / 1e6:.3f}", f"{arm['gflops']:.3g}"]
    for metric in _METRICS:
        row += [" ".join(f"{v:.4f}" for v in arm[metric]["by_seed"]), f"{arm[metric]['mean']:.4f}"]
    time = arm.get("latency_ms")
    return [*row, f"{time['median']:.1f} [{time['p5']:.1f}, {time['p95']:.1f}]" if time else "not measured"]


def _notes(summary: dict[str, Any]) -> list[str]:
    done, protocol, speed = summary["runs"], summary["protocol"], summary["latency"]
    if not done["complete"]:
        return [f"{done['complete']} of {done['planned']} runs complete."]
    seeds = sorted({s for arm in summary["arms"] for s in arm["seeds"]})
    recipe = ", ".join(f"{k}={v}" for k, v in sorted(protocol["overrides"].items()))
    start = (
        f"weights {protocol['weights']} ({protocol['weights_checksum'][:12]})" if protocol["weights"] else "no weights"
    )
    return [
        f"- {done['complete']} of {done['planned']} runs complete; seeds {', '.join(map(str, seeds))}; {start}; data "
        f"{protocol['data']} (checksum {protocol['data_checksum'][:12]}). Judged is the last epoch of each run.",
        f"- Recipe of every arm: {recipe}.",
        f"- {describe(summary['environment'])}. Latency: one image of {speed['imgsz']} px on {speed['device']}, models "
        "interleaved; GFLOPs count matrix products.",
        f"- {len(seeds)} seed{'s' * (len(seeds) > 1)}, no interval and no test: differences between models are not "
        "shown to be more than noise.",
    ]
