"""Run a comparison: train several models with one recipe and the same seeds, and store the result of each run.

Called again, a comparison trains only the runs without a stored result. :mod:`yolo_attn.compare.results` computes the
results from the stored runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from yolo_attn.compare import contents, executors, run_folder
from yolo_attn.compare.executors import Executor, LocalPool, RayCluster
from yolo_attn.compare.folder import FINISHED, PLAN, RUNS, SPEED, Log, changed_data, speed_key, timed_runs
from yolo_attn.compare.pieces import Piece
from yolo_attn.compare.plan import ArmSpec, Plan, arms_of, specs_of
from yolo_attn.compare.progress import Progress
from yolo_attn.compare.seconds import Spent
from yolo_attn.compare.stored import stored_run
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.speed.raw import read_raw
from yolo_attn.speed.spec import SpeedSpec, write_spec
from yolo_attn.util.env import version_of
from yolo_attn.util.files import write_json
from yolo_attn.util.imports import imported

EXECUTORS = ("serial", "pool", "ray")
SPEED_SECONDS = 20.0


def compare(
    plan: Plan,
    out: str | Path,
    log: Log = lambda line: None,
    executor: str = "serial",
    per_device: int = 1,
    speed_seconds: float = SPEED_SECONDS,
    only: str | None = None,
) -> list[str]:
    """Carry out the incomplete runs of a comparison, time the models, and write results and report.

    Args:
        plan: Models, data, seeds and training arguments.
        out: Folder for ``runs/``, ``speed/`` and the report.
        log: Called with progress messages.
        executor: How runs are carried out: ``serial``, ``pool`` (in parallel on this machine) or ``ray``.
        per_device: Parallel runs on each GPU (or on the CPU); more than 1 turns ``serial`` into ``pool``.
        speed_seconds: Time limit for timing the models, in seconds per batch size and precision; 0 to skip it.
        only: Part of the runs to carry out, e.g. ``1/3``; all by default.

    Returns:
        Failed runs, each with its reason; the other runs are stored.

    Raises:
        YoloAttnError: If the plan is invalid, or another comparison is running in ``out``.
    """
    piece = Piece.of(only) if only is not None else None
    with imported(plan.register):
        return _compare(plan, Path(out).resolve(), log, executor, per_device, speed_seconds, piece)


def _compare(
    plan: Plan, out: Path, log: Log, executor: str, per_device: int, speed_seconds: float, piece: Piece | None
) -> list[str]:
    from yolo_attn.compare import host
    from yolo_attn.host.data import prepare_data
    from yolo_attn.train import yolo

    workers = executor_of(executor, plan.device, per_device, plan.threads)
    arms = arms_of(plan)
    specs = specs_of(plan, arms, kind=workers.kind)
    task = yolo.check_model_dict(arms[0].name, arms[0].model, None)
    host.check_records(task)
    prepare_data(specs[0].data, specs[0].overrides, task)
    said = {key: value for key, value in (("init", plan.init), ("note", plan.note)) if value}
    return store_and_summarize(specs, arms, out, workers, log, speed_seconds, said, piece)


def store_and_summarize(
    specs: Sequence[run_folder.RunSpec],
    arms: Sequence[ArmSpec],
    out: Path,
    workers: Executor,
    log: Log,
    speed_seconds: float,
    plan: Mapping[str, Any],
    piece: Piece | None = None,
) -> list[str]:
    """Carry out the incomplete runs of checked specs, time the models, and write results and report.

    Args:
        specs: All runs.
        arms: Their models, the baseline first.
        out: Folder of the comparison.
        workers: Carries out the runs.
        log: Called with progress messages.
        speed_seconds: Time limit for timing the models; 0 to skip it.
        plan: What ``plan.json`` says besides.
        piece: Part of the runs to carry out; all by default.

    Returns:
        Failed runs, each with its reason.

    Raises:
        YoloAttnError: If another comparison is running in ``out``, or it holds one of another kind.
    """
    from yolo_attn.compare import results

    planned, specs = specs[0], contents.with_unrecorded(specs, out / RUNS)
    own = specs if piece is None else piece.specs(specs)
    lock = "compare.lock" if piece is None else f"compare-{piece.number}-of-{piece.count}.lock"
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / lock, timeout=0):
            _check_kind(out, plan)
            _note_data(planned, out, piece, log)
            if said := contents.unrecorded(specs):
                log(said)
            write_json(out / PLAN, {**_plan_record(specs, arms), **plan})
            if piece is not None:
                log(f"part {piece}: {len(own)} of {len(specs)} runs; {piece.others()} carry out the others")
            spent = Spent()
            failed = _carry_out(own, out, workers, log, spent)
            if speed_seconds:
                with spent.timing():
                    _measure_speed(specs, out, workers.speed_device, speed_seconds, log)
            if spent.runs:
                log(spent.line())
            results.write(out, log)
            if piece is not None and piece.count > 1:
                log("to merge the folders of all parts: yolo-attn report FOLDER FOLDER ... -o WHOLE")
    except Timeout:
        raise YoloAttnError(f"another comparison is at work in '{out}'") from None
    return failed


def _check_kind(out: Path, plan: Mapping[str, Any]) -> None:
    """Refuse a folder with a comparison of the other kind, whose report would be replaced."""
    try:
        stored = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(stored, dict) and bool(stored.get(FINISHED)) != bool(plan.get(FINISHED)):
        kind = "finished trainings" if stored.get(FINISHED) else "trained models"
        raise YoloAttnError(f"'{out}' holds a comparison of {kind}; give another folder with -o")


def _note_data(planned: run_folder.RunSpec, out: Path, piece: Piece | None, log: Log) -> None:
    """Record the images and labels of a planned run, and say how they differ from those of the runs that are there.

    Raises:
        YoloAttnError: If they do, and this is one of several parts: the others would be lost from the plan.
    """
    contents.write_record(out, planned)
    if said := changed_data(out, planned):
        if piece is not None:
            raise YoloAttnError(f"part {piece} has other data than the runs in '{out}': {said}")
        log(f"the data is not that of the earlier runs in '{out}', which are not used: {said}")


def executor_of(name: str, device: str | int | None, per_device: int, threads: int | None) -> Executor:
    """Return what carries out runs: ``serial``, ``pool`` or ``ray``, on these devices.

    Raises:
        YoloAttnError: If there is no such executor or device.
    """
    from yolo_attn.host.devices import default_threads, training_devices

    if name not in EXECUTORS:
        raise YoloAttnError(one_of("executor", name, EXECUTORS))
    if name == "ray":
        return RayCluster(device, per_device, threads or default_threads())
    devices = training_devices(device)
    if name == "serial" and per_device > 1:
        name = "pool"
    if name == "serial" and len(devices) > 1:
        raise YoloAttnError(f"device={device} names {len(devices)} devices; --executor pool uses them all")
    return LocalPool(devices, per_device)


def _plan_record(specs: Sequence[run_folder.RunSpec], arms: Sequence[ArmSpec]) -> dict[str, Any]:
    from yolo_attn.host.data import check_data

    names = {str(k): v for k, v in check_data(specs[0].data, present=True)["names"].items()}
    return {
        "arms": [{"name": arm.name, "kind": arm.kind} for arm in arms],
        "seeds": sorted({spec.seed for spec in specs}),
        "runs": [spec.folder_name for spec in specs],
        "classes": {"0": "item"} if specs[0].overrides.get("single_cls") else names,
        "yolo_attn": version_of("yolo-attn"),
    }


def _carry_out(specs: Sequence[run_folder.RunSpec], out: Path, workers: Executor, log: Log, spent: Spent) -> list[str]:
    root = out / RUNS
    folders = [run_folder.prepare(spec, root) for spec in specs]  # of complete runs too: this repairs a damaged spec
    found = [stored_run(spec, root) for spec in specs]
    left = [folder for folder, run in zip(folders, found, strict=True) if run.result is None]
    log(f"{len(specs)} runs, {len(specs) - len(left)} of them complete")
    for spec, run in zip(specs, found, strict=True):
        if run.damage:
            log(f"{spec.arm}, seed {spec.seed} is made again: {run.damage}")
    if not left:
        return []
    progress = Progress(len(specs), len(specs) - len(left), min(workers.slots, len(left)), log)
    failed = []
    try:
        for folder, reason in workers.carry_out(left, progress.tick):
            progress.ended(folder, reason)
            spent.ended(folder)
            if reason is not None:
                spec = run_folder.read_spec(folder)
                failed.append(f"{spec.arm}, seed {spec.seed}: {reason}")
    finally:
        progress.close()
    return failed


def _measure_speed(
    specs: Sequence[run_folder.RunSpec], out: Path, device: str | None, seconds: float, log: Log
) -> None:
    """Time the trained models of one seed in a process of their own, unless their times are stored."""
    complete = {spec.folder_name: run for spec in specs if (run := stored_run(spec, out / RUNS).result) is not None}
    models = timed_runs(specs, complete)
    baseline, folder, key = specs[0].arm, out / SPEED, speed_key(models.values())
    if not models or specs[0].is_predictions or read_raw(folder, key) is not None:
        return
    folder.mkdir(exist_ok=True)
    if baseline not in models:
        run_folder.write_failure(folder, f"the baseline {baseline} has no complete run, which times are compared with")
        return
    log(f"timing {len(models)} models")
    result = complete[models[baseline].folder_name]
    write_spec(
        folder,
        SpeedSpec(
            key=key,
            models={
                arm: spec.finished or f"../{RUNS}/{spec.folder_name}/{run_folder.CHECKPOINT}"
                for arm, spec in models.items()
            },
            baseline=baseline,
            imgsz=result["imgsz"],
            device="cuda:0" if specs[0].device == "cuda" else "cpu",
            seconds=seconds,
        ),
    )
    if reason := executors.measure_speed(folder, device):
        log(f"speed could not be measured: {reason}")
