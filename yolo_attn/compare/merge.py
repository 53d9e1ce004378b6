"""Merge folders that hold parts of one comparison: the runs of all, as if they had been carried out in one folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from yolo_attn.compare import folder as comparison
from yolo_attn.compare import run_folder
from yolo_attn.compare.contents import DATA, check_same_data
from yolo_attn.compare.folder import FINISHED, PLAN, RUNS, SPEED, Log, Stored
from yolo_attn.compare.stored import stored_run
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.evaluate.matches import Matches
from yolo_attn.speed import spec as speed_spec
from yolo_attn.speed.raw import RAW, read_raw
from yolo_attn.util.files import replace_whole, write_json
from yolo_attn.util.processes import LOCK

_MUST_BE_EQUAL = {"classes": "classes", FINISHED: "a comparison of finished trainings", "init": "init"}


def merge(
    folders: Sequence[str | Path], out: str | Path, speed_from: str | Path | None = None, log: Log = lambda line: None
) -> None:
    """Copy the runs of several folders into one, and write its plan; results and report are not computed.

    Args:
        folders: Folders of comparisons with the same baseline, data and recipe.
        out: Folder of the whole; it may be one of them, or an earlier merge of them.
        speed_from: Which of the folders the speed is taken from; by default the first that has it.
        log: Called with what is merged and what is missing.

    Raises:
        YoloAttnError: If the folders do not belong together, or a run is in two of them with different records.
    """
    out = Path(out)
    stored = {str(folder): comparison.read(folder) for folder in folders}
    plan = _merged_plan(stored)
    _check_specs(stored)
    if (out / PLAN).is_file() and not set(_runs_of(out)) <= set(plan["runs"]):
        raise YoloAttnError(f"'{out}' holds another comparison; give another folder with -o")
    plan["runs"] = _one_of_each(plan["runs"], stored)
    sources = {name: source for name in plan["runs"] if (source := _source(name, stored)) is not None}
    plan |= _speed_of(stored, speed_from)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / "compare.lock", timeout=0):
            for name, source in sources.items():
                _copy_run(source, out / RUNS / name)
            for held in stored.values():
                _copy_records(held.out / DATA, out / DATA)
            if "speed_from" in plan:
                _copy_speed(Path(plan["speed_from"]) / SPEED, out / SPEED)
            write_json(out / PLAN, plan)
    except Timeout:
        raise YoloAttnError(f"a comparison is at work in '{out}'") from None
    _tell(stored, plan, out, log)


def _runs_of(out: Path) -> list[str]:
    try:
        found: list[str] = json.loads((out / PLAN).read_text(encoding="utf-8"))["runs"]
        return found
    except (OSError, ValueError, KeyError, TypeError):
        return []


# --- one plan ---------------------------------------------------------------------------------------------------------
def _merged_plan(stored: Mapping[str, Stored]) -> dict[str, Any]:
    """Return the plan of all models, seeds and runs of the folders.

    Raises:
        YoloAttnError: If the baselines, classes or kinds of two folders differ.
    """
    (first, reference), *others = [(folder, held.plan) for folder, held in stored.items()]
    arms = {arm["name"]: arm for arm in reference["arms"]}
    for folder, plan in others:
        baselines = [held["arms"][0]["name"] for held in (reference, plan)]
        if baselines[0] != baselines[1]:
            raise YoloAttnError(
                f"comparisons with different baselines cannot be merged: '{first}' has {baselines[0]}, '{folder}' has "
                f"{baselines[1]}"
            )
        for key, what in _MUST_BE_EQUAL.items():
            if reference.get(key) != plan.get(key):
                raise YoloAttnError(
                    f"results of different {what} cannot be merged: '{first}' has {_short(reference.get(key))}, "
                    f"'{folder}' has {_short(plan.get(key))}"
                )
        for arm in plan["arms"]:
            if arms.setdefault(arm["name"], arm) != arm:
                raise YoloAttnError(
                    f"{arm['name']} is another kind of model in '{folder}' ({arm['kind']}) than before "
                    f"({arms[arm['name']]['kind']})"
                )
    order = {name: i for i, name in enumerate(arms)}
    runs = {name: run_folder.arm_and_seed(name) for held in stored.values() for name in held.plan["runs"]}
    return {
        **{key: value for key, value in reference.items() if key not in ("speed_from", "speed_key")},
        "arms": list(arms.values()),
        "seeds": sorted({seed for held in stored.values() for seed in held.plan["seeds"]}),
        "runs": sorted(runs, key=lambda name: (runs[name][1], order.get(runs[name][0], len(order)))),
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 100 else text[:97] + "..."


def _check_specs(stored: Mapping[str, Stored]) -> None:
    """Check that all runs are of the same data, weights, recipe and versions, and every arm is one model."""
    specs = {f"'{folder}' {name}": spec for folder, held in stored.items() for name, spec in held.specs.items()}
    out = {f"'{folder}' {name}": held.out for folder, held in stored.items() for name in held.specs}
    check_same_data({name: (out[name], spec) for name, spec in specs.items()})
    run_folder.check_comparable(specs)
    models: dict[str, tuple[str, Any]] = {}
    for name, spec in specs.items():
        model = {key: value for key, value in spec.model.items() if key != "yaml_file"}
        first, known = models.setdefault(spec.arm, (name, model))
        if known != model:
            raise YoloAttnError(f"{spec.arm} is another model in {name} than in {first}")


def _one_of_each(runs: Sequence[str], stored: Mapping[str, Stored]) -> list[str]:
    """Return one run of each model and seed: the complete one, that whose images were recorded, if there are two."""
    specs = {name: spec for held in stored.values() for name, spec in held.specs.items()}
    complete = {name for held in stored.values() for name in held.results}

    def rank(name: str) -> tuple[bool, bool, bool]:
        return name in complete, name in specs, name in specs and specs[name].images_checksum is not None

    best: dict[tuple[str, int], str] = {}
    for name in runs:
        of = run_folder.arm_and_seed(name)
        best[of] = max(best.get(of, name), name, key=rank)
    return list(best.values())


# --- runs -------------------------------------------------------------------------------------------------------------
def _source(name: str, stored: Mapping[str, Stored]) -> Path | None:
    """Return the folder to take a run from: one where it is complete, else one that says why it failed.

    Raises:
        YoloAttnError: If it is complete in two, with different records.
    """
    there = {held.out / RUNS / name: held for held in stored.values() if name in held.specs}
    complete = [folder for folder, held in there.items() if stored_run(held.specs[name], held.out / RUNS).result]
    for other in complete[1:]:
        _check_same(complete[0], other)
    if complete:
        return complete[0]
    return next((folder for folder in there if run_folder.read_failure(folder)), next(iter(there), None))


def _check_same(first: Path, other: Path) -> None:
    some, more = (Matches.load(folder / run_folder.MATCHES) for folder in (first, other))
    different = [f.name for f in fields(Matches) if not _equal(getattr(some, f.name), getattr(more, f.name))]
    if different:
        maps = [_map_of(folder) for folder in (first, other)]
        raise YoloAttnError(
            f"a run is there twice, with different records ({', '.join(different)}): '{first}' with an mAP50-95 of "
            f"{maps[0]}, '{other}' with {maps[1]}; keep one of them"
        )


def _equal(some: Any, more: Any) -> bool:
    return some is more or (some is not None and more is not None and bool(np.array_equal(some, more)))


def _map_of(folder: Path) -> float | None:
    result = json.loads((folder / run_folder.RESULT).read_text(encoding="utf-8"))
    value: float | None = result["metrics"].get("mAP50-95")
    return value


def _copy_run(source: Path, to: Path) -> None:
    """Copy the folder of a run, which appears there whole; an incomplete one is replaced."""
    if source.resolve() == to.resolve():
        return
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, part, ignore=shutil.ignore_patterns(run_folder.TRAINING, LOCK, ".*"))
        shutil.rmtree(to, ignore_errors=True)
        os.replace(part, to)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _copy_records(source: Path, to: Path) -> None:
    """Copy the records of images and labels; those of the same contents have the same name."""
    for file in source.glob("*.npz"):
        if not (to / file.name).is_file():
            _copy_whole(file, to)


def _copy_whole(file: Path, to: Path) -> None:
    """Copy a file into a folder, where it appears whole."""
    to.mkdir(parents=True, exist_ok=True)
    replace_whole(to / file.name, lambda part: shutil.copyfile(file, part))


# --- speed ------------------------------------------------------------------------------------------------------------
def _speed_of(stored: Mapping[str, Stored], wanted: str | Path | None) -> dict[str, str]:
    """Return which folder the speed is taken from, and the key of its measurement; empty where none has it."""
    timed = {folder: key for folder, held in stored.items() if (key := _key_of_speed(held)) is not None}
    if wanted is not None:
        chosen = next((folder for folder in stored if Path(folder).resolve() == Path(wanted).resolve()), None)
        if chosen is None:
            raise YoloAttnError(one_of("folder", str(wanted), stored))
        if chosen not in timed:
            raise YoloAttnError(f"--speed-from {wanted}: no complete timing is in '{chosen}/{SPEED}'")
    else:
        chosen = next(iter(timed), None)
    return {} if chosen is None else {"speed_from": chosen, "speed_key": timed[chosen]}


def _key_of_speed(held: Stored) -> str | None:
    key = comparison.timing_key(held)
    return key if read_raw(held.out / SPEED, key) is not None else None


def _copy_speed(source: Path, to: Path) -> None:
    if source.resolve() == to.resolve():
        return
    to.mkdir(parents=True, exist_ok=True)
    (to / run_folder.FAILURE).unlink(missing_ok=True)
    for name in (RAW, speed_spec.SPEC):
        if (source / name).is_file():
            _copy_whole(source / name, to)


def _tell(stored: Mapping[str, Stored], plan: Mapping[str, Any], out: Path, log: Log) -> None:
    counts = ", ".join(f"{len(held.results)} of '{folder}'" for folder, held in stored.items())
    log(f"complete runs: {counts}")
    whole = comparison.read(out)
    if missing := comparison.missing(whole):
        log(f"not there: {', '.join(missing)}")
    if "speed_from" in plan:
        log(f"speed is that of '{plan['speed_from']}'")
