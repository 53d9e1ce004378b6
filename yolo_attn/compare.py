"""Train several models by one recipe, each with the same seeds, and store what came out, run by run.

A run is complete when its result is there; asked again, the comparison does only what is not complete. Nothing is
judged here: :mod:`yolo_attn.report` reads the stored results.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from yolo_attn import runs
from yolo_attn.errors import YoloAttnError, one_of

RECIPE: dict[str, Any] = {"optimizer": "SGD", "lr0": 0.01, "patience": 0, "val": False, "plots": False}
"""What every arm is trained with unless said otherwise; the optimizer is fixed, the last epoch is the one judged."""

_OURS = (
    "model",
    "data",
    "seed",
    "pretrained",
    "project",
    "name",
    "save_dir",
    "exist_ok",
    "resume",
    "mode",
    "task",
    "cfg",
)
_PLAN_KEYS = ("arms", "data", "weights", "seeds", "overrides")


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Attributes:
        arms: Model YAMLs, by name or path; the first is the baseline.
        data: Data YAML.
        weights: Checkpoint whose weights every arm starts from, or ``None`` for training from scratch.
        seeds: Seeds, each of which every arm is trained with.
        overrides: Ultralytics' training arguments.
    """

    arms: Sequence[str]
    data: str
    weights: str | None = None
    seeds: Sequence[int] = (0, 1, 2)
    overrides: Mapping[str, Any] = field(default_factory=dict)


def read_plan(path: str | Path) -> dict[str, Any]:
    """Read a comparison file: a YAML with ``arms`` and any of ``data``, ``weights``, ``seeds``, ``overrides``.

    Raises:
        YoloAttnError: If it is not one.
    """
    try:
        plan = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise YoloAttnError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(plan, dict) or not isinstance(plan.get("arms"), list):
        raise YoloAttnError(f"'{path}' is not a comparison: it has no list 'arms' of model YAMLs")
    for key in plan:
        if key not in _PLAN_KEYS:
            raise YoloAttnError(f"'{path}': {one_of('key', key, _PLAN_KEYS)}")
    seeds = plan.get("seeds", [])
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise YoloAttnError(f"'{path}': seeds={seeds!r} is not a list of whole numbers, e.g. [0, 1, 2]")
    if not isinstance(plan.get("overrides", {}), dict):
        raise YoloAttnError(f"'{path}': overrides are not settings by name, e.g. epochs: 30")
    return plan


def specs_of(plan: Plan) -> list[runs.RunSpec]:
    """Check a plan and spell out its runs, seed by seed, the baseline first.

    Raises:
        YoloAttnError: If a model, the data, the weights or an override is not right; nothing is written then.
    """
    from yolo_attn import engine
    from yolo_attn.registration import load_model_dict

    _check_overrides(plan.overrides)
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds):
        raise YoloAttnError(f"seeds {list(plan.seeds)}: give each seed once, e.g. --seeds 0,1,2")
    names = [Path(arm).stem for arm in plan.arms]
    if twice := {n for n in names if names.count(n) > 1}:
        raise YoloAttnError(f"two arms are called {', '.join(sorted(twice))}; give the YAMLs different names")
    data, data_checksum = engine.resolve_data(plan.data)
    for arm in plan.arms:
        engine.check_model(arm, plan.weights)
    weights = engine.resolve_weights(plan.weights) if plan.weights else None
    shared = {
        "data": str(data),
        "data_checksum": data_checksum,
        "weights": str(weights) if weights else None,
        "weights_checksum": runs.checksum(weights.read_bytes()) if weights else None,
        "overrides": {**RECIPE, **plan.overrides},
        "versions": {name: version(name) for name in ("torch", "ultralytics")},
    }
    models = {name: load_model_dict(arm) for name, arm in zip(names, plan.arms, strict=True)}
    return [runs.RunSpec(arm=n, model=m, seed=int(s), **shared) for s in plan.seeds for n, m in models.items()]


def compare(plan: Plan, out: str | Path, say: Callable[[str], None] = lambda line: None) -> list[str]:
    """Do what is left of a comparison and store it under ``out``.

    Args:
        plan: What to compare.
        out: Folder for ``runs/``, ``latency.json`` and the report.
        say: Told the progress, a line at a time.

    Returns:
        The runs that failed, each with the reason; the others are stored all the same.
    """
    from yolo_attn import report

    specs, out = specs_of(plan), Path(out)
    root = out / "runs"
    root.mkdir(parents=True, exist_ok=True)
    runs.write_json(
        out / "plan.json", {"runs": [s.folder_name for s in specs], "arms": [Path(a).stem for a in plan.arms]}
    )
    left = [s for s in specs if runs.read_result(s, root) is None]
    say(f"{len(specs)} runs, {len(specs) - len(left)} of them complete")
    failed, began = [], time.monotonic()
    for number, spec in enumerate(left, 1):
        say(f"run {number} of {len(left)}: {spec.arm}, seed {spec.seed}" + _time_left(began, number - 1, len(left)))
        if reason := _run(runs.start(spec, root)):
            failed.append(f"{spec.arm}, seed {spec.seed}: {reason}")
            say(f"failed: {failed[-1]}")
    _measure_latency(specs, out, say)
    report.write(out)
    return failed


def _run(folder: Path) -> str | None:
    """Carry out one run in a process of its own; return why it failed, or nothing."""
    command = [sys.executable, "-m", "yolo_attn.run_one", str(folder)]
    with (folder / runs.LOG).open("wb") as log, subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:  # fmt: skip
        while chunk := process.stdout.read1(4096):
            log.write(chunk)
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
    if process.returncode == 0:
        return None
    lines = (folder / runs.LOG).read_text(errors="replace").strip().splitlines()
    return f"exit {process.returncode}; {lines[-1] if lines else 'no output'} (see {folder / runs.LOG})"


def _measure_latency(specs: Sequence[runs.RunSpec], out: Path, say: Callable[[str], None]) -> None:
    """Time the trained models of one seed against each other, unless that is stored for these very runs."""
    from yolo_attn import engine, speed

    first = {}
    for spec in specs:
        if (result := runs.read_result(spec, out / "runs")) is not None:
            first.setdefault(spec.arm, (spec, result))
    key = sorted(spec.key for spec, _ in first.values())
    file = out / "latency.json"
    if not first or (file.is_file() and yaml.safe_load(file.read_text())["runs"] == key):
        return
    say(f"latency of {len(first)} models, interleaved")
    models = {a: engine.open_model(out / "runs" / s.folder_name / r["checkpoint"]) for a, (s, r) in first.items()}
    result = next(iter(first.values()))[1]
    device, imgsz = result["environment"]["device"], result["imgsz"]
    times = speed.measure_latency(models, imgsz=imgsz, device=device)
    runs.write_json(file, {"runs": key, "device": device, "imgsz": imgsz, "batch": 1, "milliseconds": times})


def _check_overrides(overrides: Mapping[str, Any]) -> None:
    from yolo_attn import engine

    known = engine.training_arguments()
    for key in overrides:
        if key in _OURS:
            raise YoloAttnError(f"{key}={overrides[key]}: a comparison sets '{key}' itself")
        if key not in known:
            raise YoloAttnError(one_of("training argument", key, ["any of `yolo cfg`"], also=known))
    if overrides.get("optimizer") == "auto":
        raise YoloAttnError("optimizer=auto picks by the number of iterations; name one, e.g. optimizer=SGD")


def _time_left(began: float, done: int, total: int) -> str:
    if not done:
        return ""
    return f" (about {(time.monotonic() - began) / done * (total - done) / 60:.0f} min left)"
