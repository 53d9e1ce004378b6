"""Everything a comparison has found, read from its stored runs and put into one mapping: what reports are made of.

Nothing is measured here. What cannot be compared (other versions, other data) is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_attn.compare import run_folder
from yolo_attn.compare.caveats import caveats
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.evaluate import differences
from yolo_attn.evaluate.matches import Matches
from yolo_attn.speed import spec as speed_files
from yolo_attn.speed import summary as speed_summary
from yolo_attn.util.files import plain_name, write_json

PLAN, RUNS, SPEED, RESULTS = "plan.json", "runs", "speed", "results.json"
REPLICATES = 1000
METHOD = (
    "Images are drawn with replacement, the same for all models and seeds; to the variance that this gives, what the "
    "seeds have in common of it, the variance between seeds is added; the interval is that of Student's t, between "
    "the degrees of freedom of the seeds and those of the images, by their shares."
)
RECORDS = {"ultralytics": run_folder.MATCHES, "coco": run_folder.BOXES}
_CURVE = "metrics/mAP50-95(B)"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stored:
    """What lies in a comparison's folder: its plan, and of each run the spec and, where complete, the result."""

    out: Path
    plan: Mapping[str, Any]
    specs: Mapping[str, run_folder.RunSpec]
    results: Mapping[str, Mapping[str, Any]]

    def of(self, arm: str) -> list[Mapping[str, Any]]:
        """Return an arm's complete runs, by seed."""
        return sorted((r for r in self.results.values() if r["arm"] == arm), key=lambda r: r["seed"])

    def matches(self, result: Mapping[str, Any]) -> Matches:
        """Return a complete run's record of matches."""
        folder = next(name for name, r in self.results.items() if r is result)
        return Matches.load(self.out / RUNS / folder / run_folder.MATCHES)


def read(out: str | Path) -> Stored:
    """Read what a comparison has stored so far.

    Raises:
        YoloAttnError: If the folder holds no comparison, or results that do not belong together.
    """
    out = Path(out)
    try:
        plan = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise YoloAttnError(f"'{out}' holds no comparison: there is no {PLAN} in it") from error
    except ValueError as error:
        raise YoloAttnError(f"'{out / PLAN}' is damaged: {error}") from error
    _check_plan(plan, out / PLAN)
    specs = {
        n: run_folder.read_spec(out / RUNS / n) for n in plan["runs"] if (out / RUNS / n / run_folder.SPEC).is_file()
    }
    found = {name: run_folder.read_result(spec, out / RUNS) for name, spec in specs.items()}
    results = {name: result for name, result in found.items() if result is not None}
    run_folder.check_alike({name: specs[name] for name in results})
    _check_environments(specs, results)
    return Stored(out, plan, specs, results)


def _check_plan(plan: Any, file: Path) -> None:
    """Make sure that a plan is one, and names no folder but those of its runs."""
    try:
        arms = [(arm["name"], arm["kind"]) for arm in plan["arms"]]
        complete = arms and plan["seeds"] and plan["classes"]
        for name in plan["runs"]:
            plain_name("run", name)
    except (TypeError, KeyError, YoloAttnError) as error:
        raise YoloAttnError(f"'{file}' is damaged: {error}") from error
    if not complete:
        raise YoloAttnError(f"'{file}' is damaged: it names no arms, seeds or classes")


def _check_environments(specs: Mapping[str, run_folder.RunSpec], results: Mapping[str, Mapping[str, Any]]) -> None:
    for name, result in results.items():
        for package, wanted in specs[name].versions.items():
            found = result["environment"][package.replace("-", "_")]
            if found != wanted:
                raise YoloAttnError(f"{name} was run with {package} {found}, its comparison is of {wanted}")


def summarize(
    out: str | Path, replicates: int = REPLICATES, say: Say = lambda line: None, ap: str = "ultralytics"
) -> dict[str, Any]:
    """Collect a comparison's results and compute what they say.

    Args:
        out: The comparison's folder.
        replicates: How often images are drawn anew for the intervals.
        say: Told the progress, a line at a time.
        ap: Whose average precision: ``ultralytics``, equal to its own ``val``, or ``coco``, equal to pycocotools'.

    Returns:
        Per arm parameters, GFLOPs, each metric per seed, its difference to the baseline with interval and p values, per
        class too; speed; what all was obtained with; and what is to be kept in mind.

    Raises:
        YoloAttnError: If the folder holds no comparison, or results that do not belong together.
    """
    if ap not in RECORDS:
        raise YoloAttnError(one_of("kind of AP", ap, RECORDS))
    stored = read(out)
    statistics_of = _statistics(stored, RECORDS[ap], replicates, say)
    first = next(iter(stored.results.values()), None)
    summary = {
        "title": f"Comparison with {stored.plan['arms'][0]['name']}",
        "baseline": stored.plan["arms"][0]["name"],
        "runs": _runs(stored),
        "protocol": {**_protocol(stored), "ap": ap},
        "environment": first["environment"] if first else {},
        "commit": first["environment"].get("commit") if first else None,
        "data": None,
        "arms": [_arm(stored, arm) for arm in stored.plan["arms"]],
        "speed": _speed(stored),
    }
    if statistics_of is not None:
        _add_statistics(summary, statistics_of)
        summary["data"] = _data(stored)
    summary["caveats"] = caveats(summary, stored.results)
    return summary


def write(
    out: str | Path, say: Say = lambda line: None, replicates: int = REPLICATES, ap: str = "ultralytics"
) -> dict[str, Any]:
    """Write ``results.json`` and the report made from it into a comparison's folder; return what it holds."""
    summary = summarize(out, replicates, say, ap)
    from yolo_attn.report import write as files  # what draws loads once there is something to draw

    write_json(Path(out) / RESULTS, summary)
    files.render(summary, Path(out))
    return summary


# --- statistics -------------------------------------------------------------------------------------------------------
def _statistics(stored: Stored, records: str, replicates: int, say: Say) -> differences.Statistics | None:
    """Compute what the stored records say, or ``None`` while the baseline has no complete run."""
    folders = {arm["name"]: {} for arm in stored.plan["arms"]}
    for name, result in sorted(stored.results.items(), key=lambda item: item[1]["seed"]):
        folders[result["arm"]][result["seed"]] = stored.out / RUNS / name / records
    baseline = stored.plan["arms"][0]["name"]
    if not folders[baseline]:
        return None
    say(f"statistics: {replicates} draws of images for {len(stored.results)} runs")
    return differences.compare_arms(
        folders,
        baseline=baseline,
        replicates=replicates,
        curve=None if records == run_folder.BOXES else next(iter(stored.results.values()))["ap_tail"],
        class_names={int(k): v for k, v in stored.plan["classes"].items()},
    )


def _add_statistics(summary: dict[str, Any], found: differences.Statistics) -> None:
    summary["metrics"] = list(found.arms[found.baseline].metrics)
    summary["bootstrap"] = {
        "replicates": found.replicates,
        "level": found.level,
        "seed": found.seed,
        "method": METHOD,
    }
    for arm in summary["arms"]:
        if (of := found.arms.get(arm["name"])) is None:
            continue
        arm["metrics"] = {name: asdict(metric) for name, metric in of.metrics.items()}
        if of.differences:
            arm["difference"] = {name: asdict(difference) for name, difference in of.differences.items()}
            arm["per_class"] = [{"class": c.name, **asdict(c)} for c in of.classes]
    compared = [arm for arm in found.arms.values() if arm.differences]
    if compared:
        widest = max((arm.differences["mAP50-95"] for arm in compared), key=lambda d: d.detectable or 0)
        summary["power"] = differences.power_note(widest)


# --- what was timed --------------------------------------------------------------------------------------------------
def timed_runs(specs: Sequence[run_folder.RunSpec], complete: Container[str]) -> dict[str, run_folder.RunSpec]:
    """Return which run stands for each arm when models are timed: that of its first seed that is complete."""
    first: dict[str, run_folder.RunSpec] = {}
    for spec in specs:
        if spec.folder_name in complete:
            first.setdefault(spec.arm, spec)
    return first


def speed_key(timed: Iterable[run_folder.RunSpec]) -> str:
    """Return what a measurement of these runs' models is known by."""
    return run_folder.checksum(" ".join(sorted(spec.key for spec in timed)).encode())[:10]


# --- plain facts ------------------------------------------------------------------------------------------------------
def _runs(stored: Stored) -> dict[str, Any]:
    failed = []
    for name, spec in stored.specs.items():
        if name not in stored.results and (reason := run_folder.read_failure(stored.out / RUNS / name)):
            failed.append({"arm": spec.arm, "seed": spec.seed, "reason": reason})
    return {"planned": len(stored.plan["runs"]), "complete": len(stored.results), "failed": failed}


def _protocol(stored: Stored) -> dict[str, Any]:
    if not stored.specs:
        return {}
    spec = next(iter(stored.specs.values()))
    return {
        "data": Path(spec.data).name,
        "data_checksum": spec.data_checksum,
        "weights": Path(spec.weights).name if spec.weights else None,
        "weights_checksum": spec.weights_checksum,
        "overrides": dict(spec.overrides),
        "seeds": stored.plan["seeds"],
        "judged": "last epoch",
    }


def _data(stored: Stored) -> dict[str, Any]:
    matches = stored.matches(next(iter(stored.results.values())))
    names = {int(k): v for k, v in stored.plan["classes"].items()}
    return {
        "images": matches.images,
        "targets": len(matches.target_cls),
        "classes": len(names),
        "classes_without_targets": [name for cls, name in names.items() if cls not in matches.classes],
    }


def _arm(stored: Stored, arm: Mapping[str, str]) -> dict[str, Any]:
    results = stored.of(arm["name"])
    found: dict[str, Any] = {**arm, "seeds": [r["seed"] for r in results]}
    if results:
        found.update(
            parameters=results[0]["parameters"],
            gflops=results[0]["gflops"],
            epoch_seconds=min(s for r in results for s in r["epoch_seconds"]),
            peak_memory_mb=max(r["peak_memory_mb"] for r in results),
            curve=_curve(results, validated=next(iter(stored.specs.values())).overrides.get("val", True)),
        )
    return found


def _curve(results: Sequence[Mapping[str, Any]], validated: bool) -> dict[str, Any]:
    """Return how mAP went from epoch to epoch, or the loss where there was no validation between."""
    common = min(len(r["epochs"]) for r in results)  # a run that was stopped early has fewer
    return {
        "quantity": "mAP50-95" if validated else "training loss",
        "epochs": [int(row["epoch"]) for row in results[0]["epochs"][:common]],
        "by_seed": [[row[_CURVE] if validated else _loss(row) for row in r["epochs"][:common]] for r in results],
    }


def _loss(row: Mapping[str, float]) -> float:
    return float(np.sum([value for name, value in row.items() if name.startswith("train/")]))


def _speed(stored: Stored) -> dict[str, Any] | None:
    folder = stored.out / SPEED
    timed = timed_runs(list(stored.specs.values()), stored.results)
    records = speed_files.read_raw(folder, speed_key(timed.values()))
    return speed_summary.summarize(records) if records else None
