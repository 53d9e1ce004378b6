"""Compute the results of a comparison from its stored runs, and write ``results.json`` and the report.

Nothing is trained or timed here. Runs that differ in versions, data or training arguments are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo_attn.compare import finished_caveats, run_folder
from yolo_attn.compare.caveats import IDENTITY_CONTROL, caveats
from yolo_attn.compare.contents import unrecorded
from yolo_attn.compare.folder import RUNS, SPEED, Log, Stored, missing, read, timing_key
from yolo_attn.compare.seconds import seconds_in
from yolo_attn.errors import YoloAttnError, listed, one_of
from yolo_attn.evaluate.comparison import ArmStatistics, Statistics, compare_arms
from yolo_attn.evaluate.differences import power_note
from yolo_attn.report.results import (
    RESULTS,
    ArmResult,
    Bootstrap,
    Curve,
    Failure,
    Protocol,
    Results,
    RunFolder,
    Runs,
    SpeedResult,
    ValidationSet,
    read_results,
)
from yolo_attn.report.seconds import Seconds
from yolo_attn.speed.raw import RAW, read_raw
from yolo_attn.speed.summary import summarize as summarize_speed
from yolo_attn.util.files import write_json

REPLICATES = 1000
METHOD = (
    "Bootstrap over images, with the same samples for all models and seeds. The variance of a difference is the part "
    "of the bootstrap variance that all seeds share, corrected for classes that are in few images, plus the variance "
    "between seeds divided by their number; each "
    "model's variance between seeds is drawn towards that of the others, as far as they are alike. The quantile is "
    "that of the sum of two Student variables, for seeds and for images."
)
RECORDS = {"ultralytics": run_folder.MATCHES, "coco": run_folder.COCO_MATCHES}
_MOST_NAMED = 6
_CURVE = "metrics/mAP50-95(B)"


def summarize(
    out: str | Path, replicates: int = REPLICATES, log: Log = lambda line: None, ap: str = "ultralytics"
) -> Results:
    """Compute the results of a comparison from its stored runs.

    Args:
        out: The comparison's folder.
        replicates: Number of bootstrap replicates for the intervals.
        log: Called with progress messages.
        ap: Definition of average precision: ``ultralytics``, equal to its ``val``, or ``coco``, equal to pycocotools.

    Raises:
        YoloAttnError: If the folder holds no comparison, or its runs cannot be compared.
    """
    if ap not in RECORDS:
        raise YoloAttnError(one_of("kind of AP", ap, RECORDS))
    stored = read(out, RECORDS[ap])
    for name, damage in stored.damaged.items():
        log(f"{name} cannot be used: {damage}; the comparison's own command makes it again")
    _check_records(stored, RECORDS[ap])
    found = _statistics(stored, RECORDS[ap], replicates, log)
    first = next(iter(stored.results.values()), None)
    compared = found if stored.of(stored.baseline) else None
    results = Results(
        title=f"Comparison with {stored.baseline}",
        baseline=stored.baseline,
        runs=_runs(stored),
        protocol=_protocol(stored, ap),
        environment=first["environment"] if first else {},
        commit=first["environment"].get("commit") if first else None,
        data=_data(stored) if found else None,
        arms=tuple(_arm(stored, arm, found) for arm in stored.plan["arms"]),
        speed=_speed(stored),
        metrics=tuple(found.arms[found.baseline].metrics) if found else (),
        bootstrap=_bootstrap(compared) if compared else None,
        power=_power(compared) if compared else None,
        scope=finished_caveats.scope(stored.plan["seeds"]) if stored.finished else None,
        note=stored.plan.get("note"),
        caveats=(),
    )
    if stored.finished:
        results = finished_caveats.judged(results)
    found_caveats = (finished_caveats.caveats if stored.finished else caveats)(results, stored.results)
    if reason := _why_no_speed(stored):
        found_caveats.append(f"Speed was not measured: {reason}.")
    found_caveats += _merged(stored, results)
    if any(spec.images_checksum for spec in stored.specs.values()) and (said := unrecorded(stored.specs.values())):
        found_caveats.append(f"{said}.")
    return replace(results, caveats=tuple(found_caveats))


def _merged(stored: Stored, results: Results) -> list[str]:
    """Return what is to be said of runs that come from several folders."""
    said = []
    if results.runs.complete and (names := missing(stored)):
        said.append(f"Runs that are not there: {listed(names, _MOST_NAMED)}")
    if results.speed and (place := stored.plan.get("speed_from")):
        timed = {arm for measurement in results.measurements for arm in measurement.arms}
        without = [arm.name for arm in results.arms if arm.name not in timed]
        untimed = f", where {', '.join(without)} had no complete run" if without else ""
        said.append(f"Speed was measured in one of the merged folders, '{Path(place).name}'{untimed}.")
    return said


def write(
    out: str | Path, log: Log = lambda line: None, replicates: int = REPLICATES, ap: str = "ultralytics"
) -> Results:
    """Write ``results.json`` and the report into a comparison's folder; return the results.

    Raises:
        YoloAttnError: If no run is complete, but the folder has results: they are not replaced by an empty report.
    """
    results = summarize(out, replicates, log, ap)
    _check_nothing_is_lost(results, Path(out))
    from yolo_attn.report.write import render  # imports matplotlib

    write_json(Path(out) / RESULTS, results.to_json())
    render(results, Path(out))
    return results


def _check_nothing_is_lost(results: Results, out: Path) -> None:
    if results.runs.complete:
        return
    try:
        stored = read_results(out)
    except YoloAttnError:  # there is nothing to lose
        return
    if stored.runs.complete:
        raise YoloAttnError(
            f"'{out}' has the results of {stored.runs.complete} runs, but not the runs themselves ({RUNS}/), from "
            f"which the report is computed. Nothing was changed; copy {RUNS}/ back to compute the report again"
        )


# --- statistics -------------------------------------------------------------------------------------------------------
def _statistics(stored: Stored, records: str, replicates: int, log: Log) -> Statistics | None:
    """Compute statistics from the stored records; ``None`` without a complete run.

    Without one of the baseline there are the metrics of the other arms, and no differences.
    """
    folders: dict[str, dict[int, Path]] = {arm["name"]: {} for arm in stored.plan["arms"]}
    for name, result in sorted(stored.results.items(), key=lambda item: item[1]["seed"]):
        folders[result["arm"]][result["seed"]] = _record(stored.out / RUNS / name, records)
    if not stored.results:
        return None
    compared = bool(folders[stored.baseline])
    log(f"statistics: {replicates} bootstrap samples for {len(stored.results)} runs")
    found = compare_arms(
        folders if compared else {name: runs for name, runs in folders.items() if runs},
        baseline=stored.baseline if compared else None,
        replicates=replicates if compared else 2,
        curve=None if records == run_folder.COCO_MATCHES else next(iter(stored.results.values()))["ap_tail"],
        class_names=stored.classes,
        untested=[arm["name"] for arm in stored.plan["arms"] if arm["kind"] == IDENTITY_CONTROL],
    )
    if compared:
        return found
    return replace(found, arms={name: ArmStatistics(arm.seeds, arm.metrics) for name, arm in found.arms.items()})


def _check_records(stored: Stored, records: str) -> None:
    for name in stored.results:
        if not _record(stored.out / RUNS / name, records).is_file():
            raise YoloAttnError(
                f"--ap coco is not possible: {name} stored no {records}, as is the case for rotated boxes, which "
                "COCO's evaluation does not know"
            )


def _record(folder: Path, name: str) -> Path:
    """Return the file of a run's detections: in older comparisons boxes take the place of COCO's matches."""
    old = folder / run_folder.OLD_BOXES
    return old if name == run_folder.COCO_MATCHES and not (folder / name).is_file() and old.is_file() else folder / name


def _bootstrap(found: Statistics) -> Bootstrap:
    return Bootstrap(replicates=found.replicates, level=found.level, seed=found.seed, method=METHOD)


def _power(found: Statistics) -> str | None:
    """Return a sentence on the differences that this comparison finds significant; ``None`` where nothing varies."""
    differences = {name: arm.differences["mAP50-95"] for name, arm in found.arms.items() if arm.differences}
    return power_note(differences) if any(d.se for d in differences.values()) else None


# --- facts about the runs ---------------------------------------------------------------------------------------------
def _runs(stored: Stored) -> Runs:
    failed = []
    for name in stored.plan["runs"]:
        if name in stored.results:
            continue
        reason = run_folder.read_failure(stored.out / RUNS / name)
        if reason is None and (damage := stored.damaged.get(name)):
            reason = f"{damage}; the comparison's own command makes this run again"
        if reason:
            arm, seed = run_folder.arm_and_seed(name)
            failed.append(Failure(arm=arm, seed=seed, reason=reason))
    folders = [
        RunFolder(arm=spec.arm, seed=spec.seed, folder=f"{RUNS}/{name}", seconds=_seconds(stored, name))
        for name, spec in stored.specs.items()
    ]
    planned, complete = len(stored.plan["runs"]), len(stored.results)
    return Runs(planned=planned, complete=complete, failed=tuple(failed), folders=tuple(folders))


def _seconds(stored: Stored, name: str) -> Seconds | None:
    return seconds_in(stored.results[name]) if name in stored.results else None


def _protocol(stored: Stored, ap: str) -> Protocol | None:
    if not stored.specs:
        return None
    spec = next(iter(stored.specs.values()))
    return Protocol(
        data=Path(spec.data).name,
        data_checksum=spec.data_checksum,
        images_checksum=next((s.images_checksum for s in stored.specs.values() if s.images_checksum), None),
        weights=Path(spec.weights).name if spec.weights else None,
        weights_checksum=spec.weights_checksum,
        overrides=dict(spec.overrides),
        seeds=tuple(stored.plan["seeds"]),
        judged=_files(stored) if stored.finished else "last epoch",
        ap=ap,
        init=stored.plan.get("init"),
        trained=not stored.finished,
    )


def _files(stored: Stored) -> str:
    """Return which file each run is of, with the beginning of its checksum."""
    return ", ".join(
        f"{spec.arm}: {Path(spec.finished or '').name} ({(spec.finished_checksum or '')[:12]})"
        for spec in stored.specs.values()
    )


def _data(stored: Stored) -> ValidationSet:
    matches = stored.matches(next(iter(stored.results.values())))
    absent = tuple(name for cls, name in stored.classes.items() if cls not in matches.classes)
    return ValidationSet(
        images=matches.images,
        targets=len(matches.target_cls),
        classes=len(stored.classes),
        classes_without_targets=absent,
    )


def _arm(stored: Stored, arm: Mapping[str, str], statistics: Statistics | None) -> ArmResult:
    runs = stored.of(arm["name"])
    result = ArmResult(name=arm["name"], kind=arm["kind"], seeds=tuple(run["seed"] for run in runs))
    if runs:
        result = replace(
            result,
            parameters=runs[0]["parameters"],
            gflops=runs[0]["gflops"],
        )
    if runs and not stored.finished:
        result = replace(
            result,
            epoch_seconds=min(seconds for run in runs for seconds in run["epoch_seconds"]),
            peak_memory_mb=max(run["peak_memory_mb"] for run in runs),
            curve=_curve(runs, validated=next(iter(stored.specs.values())).overrides.get("val", True)),
        )
    if statistics and (found := statistics.arms.get(arm["name"])):
        result = replace(result, metrics=found.metrics, difference=found.differences, per_class=found.classes)
    return result


def _curve(runs: Sequence[Mapping[str, Any]], validated: bool) -> Curve:
    """Return mAP by epoch, or the training loss where no epoch was validated."""
    common = min(len(run["epochs"]) for run in runs)  # a run that was stopped early has fewer
    return Curve(
        quantity="mAP50-95" if validated else "training loss",
        epochs=tuple(int(row["epoch"]) for row in runs[0]["epochs"][:common]),
        by_seed=tuple(
            tuple(row[_CURVE] if validated else _loss(row) for row in run["epochs"][:common]) for run in runs
        ),
    )


def _loss(row: Mapping[str, float]) -> float:
    return float(np.sum([value for name, value in row.items() if name.startswith("train/")]))


def _speed(stored: Stored) -> SpeedResult | None:
    raw = read_raw(stored.out / SPEED, timing_key(stored))
    return summarize_speed(raw) if raw else None


def _why_no_speed(stored: Stored) -> str | None:
    """Return why models that should have been timed were not; ``None`` if they were, or timing was not asked for."""
    folder, key = stored.out / SPEED, timing_key(stored)
    if read_raw(folder, key) is not None:
        return None
    if reason := run_folder.read_failure(folder):
        return reason
    if (folder / RAW).is_file():
        return f"the times in {SPEED}/{RAW} are damaged or of other runs; the comparison's own command measures again"
    return None
