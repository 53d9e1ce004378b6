"""Plan a comparison: read models, data and seeds from a matrix file or arguments, and list the runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from yolo_attn.compare import run_folder
from yolo_attn.errors import YoloAttnError, like, nearest_file, one_of, shorten
from yolo_attn.host.wiring import rows_of, unread_rows
from yolo_attn.util import imports
from yolo_attn.util.env import version_of
from yolo_attn.util.files import plain_name
from yolo_attn.util.words import check_init

RECIPE: dict[str, Any] = {"optimizer": "SGD", "lr0": 0.01, "patience": 0, "plots": False}
"""Default training arguments of every arm: a fixed optimizer, and no early stopping, as the last epoch is judged."""

BASELINE, ATTENTION, MODEL = "baseline", "attention", "model"
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
    "save",
    "time",
    "device",
    "split",
)
_PLAN_KEYS = (
    "base", "arms", "controls", "data", "weights", "seeds", "overrides", "device", "threads", "register", "init",
    "note",
)  # fmt: skip
_SEEDS = 2**32
_SEVERAL = "To compare models, name the baseline and what to compare with it"
_ARM_KEYS = ("name", "model", "control", "insert", "at", "inside", "hyper")


@dataclass(frozen=True)
class Plan:
    """Models to compare, and how they are trained.

    Attributes:
        arms: Models (arms), the baseline first. Each is a model YAML by name or path, a control of one
            (``identity:yolo11n-ela.yaml``, ``plain:yolo11n-ela.yaml``), or a mapping with ``model`` and any of
            ``name``, ``control``, and ``insert``, ``at``, ``inside``, ``hyper`` (to insert a block).
        data: Data YAML.
        weights: Checkpoint that every arm starts from, or ``None`` to train from scratch.
        seeds: Seeds that every arm is trained with.
        overrides: Training arguments of Ultralytics.
        controls: Kinds of controls to add for every arm with attention: ``identity``, ``plain``.
        device: Devices as Ultralytics names them, e.g. ``0``, ``0,1``, ``cpu``; the GPU if there is one by default.
        threads: Threads of each run on the CPU; Ultralytics' choice by default.
        register: Python files, or modules by name, that define blocks of the arms; every run imports them.
        init: How the attention of every arm starts, ``paper`` or ``identity``; by default as its rows state.
        note: Sentence that stands first in the report and in every plot.
    """

    arms: Sequence[str | Mapping[str, Any]]
    data: str
    weights: str | None = None
    seeds: Sequence[int] = (0, 1, 2)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    controls: Sequence[str] = ()
    device: str | int | None = None
    threads: int | None = None
    register: Sequence[str] = ()
    init: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class ArmSpec:
    """One model of a comparison: its name, its role (baseline, attention, a control, ...) and its model dict."""

    name: str
    kind: str
    model: Mapping[str, Any]


def read_plan(path: str | Path) -> dict[str, Any]:
    """Read a matrix file: a YAML with ``arms`` and any other attributes of :class:`Plan`.

    A key ``base`` names the baseline, which is then put before the arms. ``register`` is a file or a list of them, with
    paths relative to the folder of the matrix file.

    Raises:
        YoloAttnError: If the file is not a valid matrix file.
    """
    try:
        plan = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise like(error, f"no comparison at '{path}'{nearest_file(Path(path), '*.y*ml')}. {_SEVERAL}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YoloAttnError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(plan, dict) or not isinstance(plan.get("arms"), list) or not plan["arms"]:
        raise YoloAttnError(f"'{path}' is not a comparison: it has no list 'arms' of model YAMLs. {_SEVERAL}")
    for key in plan:
        if key not in _PLAN_KEYS:
            raise YoloAttnError(f"'{path}': {one_of('key', key, _PLAN_KEYS)}")
    seeds = plan.get("seeds", [])
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise YoloAttnError(f"'{path}': seeds={seeds!r} is not a list of whole numbers, e.g. [0, 1, 2]")
    if not isinstance(plan.get("overrides", {}), dict):
        raise YoloAttnError(f"'{path}': overrides are not settings by name, e.g. epochs: 30")
    if "device" in plan.get("overrides", {}):
        raise YoloAttnError(f"'{path}': device is a key next to overrides, not in them")
    if not isinstance(plan.get("controls", []), list):
        raise YoloAttnError(f"'{path}': controls={plan['controls']!r} is not a list, e.g. [identity, plain]")
    if "register" in plan:
        plan["register"] = _files_beside(Path(path), plan["register"])
    if "base" in plan:
        plan["arms"] = [plan.pop("base"), *plan["arms"]]
    return plan


def _files_beside(matrix: Path, register: Any) -> list[str]:
    files = [register] if isinstance(register, str) else register
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise YoloAttnError(f"'{matrix}': register={register!r} is not a Python file or a list of them, e.g. mine.py")
    return [str(matrix.parent / file) if file.endswith(".py") or "/" in file else file for file in files]


# --- arms -------------------------------------------------------------------------------------------------------------
def arms_of(plan: Plan) -> list[ArmSpec]:
    """Return the models of a plan, the baseline first and controls last; equal models are listed once.

    Raises:
        YoloAttnError: If a model is missing or invalid, or two have the same name.
    """
    if not plan.arms:
        raise YoloAttnError("no model is named; give the baseline and what to compare with it, or a matrix file")
    (first, *others) = _started([_read_arm(arm) for arm in plan.arms], plan.init)
    arms = [ArmSpec(first.name, BASELINE, first.model), *others]
    for kind in plan.controls:
        for arm in others:
            if arm.kind == ATTENTION:
                control = _control(arm, kind)
                if not any(rows_of(control.model) == rows_of(a.model) for a in arms):
                    arms.append(control)
    for arm in arms:
        if lost := [row for row in unread_rows(arm.model) if row.attention]:
            raise YoloAttnError(f"{arm.name} would be compared without its attention: {lost[0]}")
    names = [arm.name for arm in arms]
    if twice := {n for n in names if names.count(n) > 1}:
        raise YoloAttnError(f"two arms are called {', '.join(sorted(twice))}; give the YAMLs different names")
    return arms


def _started(arms: Sequence[ArmSpec], init: str | None) -> Sequence[ArmSpec]:
    """Return the arms with the attention of each started in one way, if one is wanted."""
    from yolo_attn.models.row_init import with_init

    if init is None:
        return arms
    if not any(arm.kind == ATTENTION for arm in arms):
        raise YoloAttnError(f"init={check_init(init)} is for attention, and none of the models has any")
    chosen = {arm.name: with_init(arm.model, init) for arm in arms if arm.kind == ATTENTION}
    for name, found in chosen.items():
        logging.getLogger("ultralytics").info(f"{name}: {found}")
    return [replace(arm, model=chosen[arm.name].model) if arm.kind == ATTENTION else arm for arm in arms]


def _read_arm(arm: str | Mapping[str, Any]) -> ArmSpec:
    from yolo_attn.models.controls import KINDS

    if isinstance(arm, str):
        kind, colon, model = arm.partition(":")
        arm = {"model": model, "control": kind} if colon and kind in KINDS else {"model": arm}
    if not isinstance(arm, Mapping) or not isinstance(arm.get("model"), str):
        raise YoloAttnError(f"arm {arm!r} names no model, e.g. yolo11n-ela.yaml or {{model: yolo11n-ela.yaml}}")
    for key in arm:
        if key not in _ARM_KEYS:
            raise YoloAttnError(f"arm {arm['model']}: {one_of('key', key, _ARM_KEYS)}")
    read = _inserted(arm) if "insert" in arm else _plain_model(arm["model"])
    read = _control(read, arm["control"]) if "control" in arm else read
    return ArmSpec(plain_name("arm", str(arm.get("name", read.name))), read.kind, read.model)


def _plain_model(name: str) -> ArmSpec:
    from yolo_attn.host.model import load_model_dict

    model = load_model_dict(name)
    return ArmSpec(Path(name).stem, ATTENTION if _has_attention(model) else MODEL, model)


def _inserted(arm: Mapping[str, Any]) -> ArmSpec:
    from yolo_attn.models.insert import insert

    block, hyper = arm["insert"], arm.get("hyper", {})
    if not isinstance(block, str) or not isinstance(hyper, Mapping) or not all(isinstance(k, str) for k in hyper):
        raise YoloAttnError(
            f"arm {arm['model']}: insert is the name of a block, hyper its settings, e.g. {{variant: L}}"
        )
    made = insert(arm["model"], [(block, arm.get("at"), hyper)], inside=arm.get("inside"))
    base = _plain_model(arm["model"])
    content = {**made.yaml, "scale": base.model.get("scale", ""), "yaml_file": base.model.get("yaml_file", "")}
    return ArmSpec(f"{base.name}-{block.lower()}", ATTENTION, content)


def _control(arm: ArmSpec, kind: str) -> ArmSpec:
    from yolo_attn.models.controls import control_of

    try:
        return ArmSpec(f"{arm.name}-{kind}", f"{kind} control", control_of(arm.model, kind))
    except YoloAttnError as error:
        raise YoloAttnError(f"arm {arm.name}: {error}") from error


def _has_attention(model: Mapping[str, Any]) -> bool:
    from yolo_attn.host.model import means_block, split_name

    names = [row[2] for row in rows_of(model)]
    return any(means_block(name) or split_name(name) for name in names)


# --- runs -------------------------------------------------------------------------------------------------------------
def specs_of(plan: Plan, arms: Sequence[ArmSpec] | None = None, kind: str | None = None) -> list[run_folder.RunSpec]:
    """Check a plan and return its runs, seed by seed, the baseline first.

    Args:
        plan: The plan.
        arms: Its models, if they were read before.
        kind: Kind of device to train on, ``cpu`` or ``cuda``; by default that of ``plan.device`` on this machine.

    Raises:
        YoloAttnError: If a model, the data, the weights or a training argument is invalid.
    """
    from yolo_attn.compare.contents import read_data
    from yolo_attn.host.devices import default_threads, device_kind
    from yolo_attn.train import yolo

    _check_overrides(plan.overrides)
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds):
        raise YoloAttnError(f"seeds {list(plan.seeds)}: give each seed once, e.g. --seeds 0,1,2")
    if beyond := [seed for seed in plan.seeds if not 0 <= seed < _SEEDS]:
        raise YoloAttnError(f"seed {shorten(beyond[0])}: give whole numbers from 0 to {_SEEDS - 1}, for numpy")
    arms = arms_of(plan) if arms is None else arms
    tasks = {yolo.check_model_dict(arm.name, arm.model, plan.weights): arm.name for arm in arms}
    if len(tasks) > 1:
        different = ", ".join(f"{name} for '{task}'" for task, name in tasks.items())
        raise YoloAttnError(f"models for different tasks cannot be compared: {different}")
    weights = yolo.resolve_weights(plan.weights) if plan.weights else None
    kind = kind or device_kind(plan.device)
    seen = read_data(plan.data)
    shared: dict[str, Any] = {
        "data": str(seen.file),
        "data_checksum": seen.checksum,
        "images_checksum": seen.images_checksum,
        "weights": str(weights) if weights else None,
        "weights_checksum": run_folder.checksum(weights.read_bytes()) if weights else None,
        "overrides": {**RECIPE, **plan.overrides},
        "versions": {name: version_of(name) for name in ("torch", "ultralytics", "yolo-attn")},
        "device": kind,
        "threads": plan.threads or default_threads() if kind == "cpu" else None,
        "imports": imports.entries(),
        "imports_checksum": imports.checksum(imports.entries()),
    }
    return [run_folder.RunSpec(arm=a.name, model=a.model, seed=int(s), **shared) for s in plan.seeds for a in arms]


def _check_overrides(overrides: Mapping[str, Any]) -> None:
    from yolo_attn.host.yolo import training_arguments

    known = training_arguments()
    for key in overrides:
        if key in _OURS:
            raise YoloAttnError(f"{key}={overrides[key]}: a comparison sets '{key}' itself")
        if key not in known:
            raise YoloAttnError(one_of("training argument", key, ["any of `yolo cfg`"], also=known))
    if overrides.get("optimizer") == "auto":
        raise YoloAttnError("optimizer=auto picks by the number of iterations; name one, e.g. optimizer=SGD")
    batch = overrides.get("batch", 16)
    if not isinstance(batch, int) or batch < 1:
        raise YoloAttnError(f"batch={batch} picks a size by memory, which may differ from run to run; name one")
