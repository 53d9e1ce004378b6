"""Train several models by one recipe, each with the same seeds, and store what came out, run by run.

A run is complete when its result is there; asked again, the comparison does only what is not complete. Nothing is
judged here: :mod:`yolo_attn.compare.results` reads what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from yolo_attn.compare import executors, run_folder
from yolo_attn.compare.executors import Executor, LocalPool, RayCluster
from yolo_attn.compare.plan import Arm, Plan, arms_of, specs_of
from yolo_attn.compare.progress import Progress
from yolo_attn.compare.results import PLAN, RUNS, SPEED, speed_key, timed_runs
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.speed.raw import read_raw
from yolo_attn.speed.spec import SpeedSpec, write_spec
from yolo_attn.util.files import write_json

EXECUTORS = ("serial", "pool", "ray")
SPEED_SECONDS = 20.0


def compare(
    plan: Plan,
    out: str | Path,
    say: Callable[[str], None] = lambda line: None,
    executor: str = "serial",
    per_device: int = 1,
    speed_seconds: float = SPEED_SECONDS,
) -> list[str]:
    """Do what is left of a comparison and store it under ``out``.

    Args:
        plan: What to compare.
        out: Folder for ``runs/``, ``speed/`` and the report.
        say: Told the progress, a line at a time.
        executor: Where the runs are carried out: ``serial``, ``pool`` (several at a time on this machine) or ``ray``.
        per_device: Runs at a time on each GPU (or on the CPU); above 1 it means ``pool`` where nothing else is said.
        speed_seconds: Time for timing the models, per batch size and precision, once the runs are done; 0 for none.

    Returns:
        The runs that failed, each with the reason; the others are stored all the same.

    Raises:
        YoloAttnError: If the plan is not right, or another comparison is at work in ``out``.
    """
    from yolo_attn.compare import host, results
    from yolo_attn.host.data import prepare_data
    from yolo_attn.train import yolo

    out = Path(out).resolve()
    workers = _executor(executor, plan, per_device)
    arms = arms_of(plan)
    specs = specs_of(plan, arms, kind=workers.kind)
    task = yolo.check_model_dict(arms[0].name, arms[0].model, None)
    host.check_records(task)
    prepare_data(specs[0].data, specs[0].overrides, task)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / "compare.lock", timeout=0):
            write_json(out / PLAN, _plan_record(specs, arms))
            failed = _carry_out(specs, out, workers, say)
            if speed_seconds:
                _measure_speed(specs, out, workers.speed_device, speed_seconds, say)
            results.write(out, say)
    except Timeout:
        raise YoloAttnError(f"another comparison is at work in '{out}'") from None
    return failed


def _executor(name: str, plan: Plan, per_device: int) -> Executor:
    from yolo_attn.host.devices import default_threads, training_devices

    if name not in EXECUTORS:
        raise YoloAttnError(one_of("executor", name, EXECUTORS))
    if name == "ray":
        return RayCluster(plan.device, per_device, plan.threads or default_threads())
    devices = training_devices(plan.device)
    if name == "serial" and per_device > 1:
        name = "pool"
    if name == "serial" and len(devices) > 1:
        raise YoloAttnError(f"device={plan.device} names {len(devices)} devices; --executor pool uses them all")
    return LocalPool(devices, per_device)


def _plan_record(specs: Sequence[run_folder.RunSpec], arms: Sequence[Arm]) -> dict[str, Any]:
    from yolo_attn.host.data import check_data

    names = {str(k): v for k, v in check_data(specs[0].data, present=True)["names"].items()}
    return {
        "arms": [{"name": arm.name, "kind": arm.kind} for arm in arms],
        "seeds": sorted({spec.seed for spec in specs}),
        "runs": [spec.folder_name for spec in specs],
        "classes": {"0": "item"} if specs[0].overrides.get("single_cls") else names,
        "yolo_attn": version("yolo-attn"),
    }


def _carry_out(
    specs: Sequence[run_folder.RunSpec], out: Path, workers: Executor, say: Callable[[str], None]
) -> list[str]:
    root = out / RUNS
    folders = [
        run_folder.prepare(spec, root) for spec in specs
    ]  # those of complete runs too: a damaged spec is made good
    left = [f for f, spec in zip(folders, specs, strict=True) if run_folder.read_result(spec, root) is None]
    say(f"{len(specs)} runs, {len(specs) - len(left)} of them complete")
    if not left:
        return []
    progress = Progress(len(specs), len(specs) - len(left), min(workers.slots, len(left)), say)
    failed = []
    try:
        for folder, reason in workers.carry_out(left, progress.tick):
            progress.ended(folder, reason)
            if reason is not None:
                spec = run_folder.read_spec(folder)
                failed.append(f"{spec.arm}, seed {spec.seed}: {reason}")
    finally:
        progress.close()
    return failed


def _measure_speed(
    specs: Sequence[run_folder.RunSpec], out: Path, device: str | None, seconds: float, say: Callable[[str], None]
) -> None:
    """Time the trained models of one seed against each other, in a process of its own, unless that is stored."""
    models = timed_runs(specs, [s.folder_name for s in specs if run_folder.read_result(s, out / RUNS) is not None])
    baseline, folder, key = specs[0].arm, out / SPEED, speed_key(models.values())
    if baseline not in models or read_raw(folder, key) is not None:
        return
    say(f"speed of {len(models)} models, in turns")
    folder.mkdir(exist_ok=True)
    result = run_folder.read_result(models[baseline], out / RUNS)
    write_spec(
        folder,
        SpeedSpec(
            key=key,
            models={arm: f"../{RUNS}/{spec.folder_name}/{run_folder.CHECKPOINT}" for arm, spec in models.items()},
            baseline=baseline,
            imgsz=result["imgsz"],
            device="cuda:0" if specs[0].device == "cuda" else "cpu",
            seconds=seconds,
        ),
    )
    if reason := executors.measure_speed(folder, device):
        say(f"speed could not be measured: {reason}")
