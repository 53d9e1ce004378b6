"""Carry out one run in a process of its own: ``python -m yolo_attn.compare.run FOLDER``; FOLDER holds ``spec.json``.

The process exits with its parent, and a lock keeps a second process out of the folder.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from yolo_attn.compare import finished_run, run_folder
from yolo_attn.compare.seconds import process_seconds
from yolo_attn.compare.stored import stored_run, trained_model
from yolo_attn.errors import YoloAttnError
from yolo_attn.host.model_files import write_model
from yolo_attn.report.seconds import ALL, EARLIER
from yolo_attn.util import imports
from yolo_attn.util.env import environment, version_of
from yolo_attn.util.printing import any_text
from yolo_attn.util.processes import LOCK, LOCK_SECONDS, stop_with_parent

SHARED = (
    "matplotlib",
    "torchvision",
    "torch._dynamo",  # an optimizer imports it at its first step
    "torch._inductor.config",  # the choice of deterministic algorithms imports it
    "yolo_attn.compare.host",
    "yolo_attn.speed.size",
    "yolo_attn.train.yolo",
)
"""Modules that a run imports late and that begin neither CUDA nor a thread, as polars does."""


def run(folder: Path) -> None:
    """Train and evaluate the run of a folder's spec, resuming an earlier attempt, and write its result.

    A finished training is only evaluated.

    Raises:
        YoloAttnError: If another process uses the folder, or the installed versions differ from the spec's.
    """
    spec = run_folder.read_spec(folder)
    _check_versions(spec)
    with imports.imported(spec.imports):
        _check_imports(spec)
        _run_alone(folder, spec)


def _run_alone(folder: Path, spec: run_folder.RunSpec) -> None:
    try:
        with FileLock(folder / LOCK, timeout=LOCK_SECONDS):
            if stored_run(spec, folder.parent).result is None:
                (_run if spec.finished is None else finished_run.evaluate)(folder, spec)
    except Timeout:
        raise YoloAttnError(f"another process is still at work in '{folder}'") from None


def _run(folder: Path, spec: run_folder.RunSpec) -> None:
    """Train and evaluate; where only records were damaged, the checkpoint being whole, evaluate alone."""
    from yolo_attn.compare import host

    began = time.perf_counter()
    overrides = {**spec.overrides, "device": "cpu"} if spec.device == "cpu" else spec.overrides  # else the visible GPU
    trained = trained_model(spec, folder.parent) or _train(folder, spec, overrides)
    trained_at = time.perf_counter()
    checkpoint = folder / run_folder.CHECKPOINT
    found = host.evaluate(checkpoint, spec.data, trained["imgsz"], overrides, threads=spec.threads)
    stored = found.store(folder)
    evaluated: dict[str, Any] = {
        **stored,
        "seconds_of_last_try": round(time.perf_counter() - began, 1),
    }
    if (spent := trained.get("seconds")) is not None:
        evaluation = time.perf_counter() - trained_at
        in_all = spent.get(EARLIER, 0.0) + process_seconds()
        evaluated["seconds"] = {
            **spent,
            "validation": round(spent.get("validation", 0.0) + evaluation, 3),
            ALL: round(in_all, 3),
        }
    run_folder.finish(folder, {**trained, **evaluated})


def _train(folder: Path, spec: run_folder.RunSpec, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Train, write the checkpoint, and return what the result says of both."""
    from yolo_attn.blocks import fused
    from yolo_attn.compare import host
    from yolo_attn.speed import size
    from yolo_attn.train import yolo

    file = write_model(spec.model, folder)
    trained = host.train(
        file, spec.data, spec.weights, spec.seed, folder / run_folder.TRAINING, overrides, threads=spec.threads
    )
    checkpoint = host.strip(trained.last, folder / run_folder.CHECKPOINT)
    history = trained.history
    return {
        "key": spec.key,
        "arm": spec.arm,
        "seed": spec.seed,
        "epochs": trained.epochs,
        **history,
        "parameters": size.count_parameters(yolo.open_model(checkpoint, fuse=False)),
        "gflops": round(size.count_gflops(yolo.open_model(checkpoint, fuse=True), history["imgsz"]), 6),
        "environment": {**environment(history["device"]), "fused": fused.used()},
    }


def _check_versions(spec: run_folder.RunSpec) -> None:
    for name, wanted in spec.versions.items():
        if version_of(name) != wanted:
            raise YoloAttnError(
                f"this run is for {name} {wanted}, {version_of(name)} is installed where it was started"
            )


def _check_imports(spec: run_folder.RunSpec) -> None:
    if imports.checksum(spec.imports) != spec.imports_checksum:
        raise YoloAttnError(f"{', '.join(spec.imports)} changed since this run was planned; start the comparison again")


def prepare() -> None:
    """Import what a run uses, for the processes that are forked from this one."""
    for name in SHARED:
        importlib.import_module(name)


def main(folder: Path) -> None:
    """Carry out the run of a folder as this process, which exits with its parent."""
    stop_with_parent()
    with any_text():
        try:
            run(folder.resolve())  # Ultralytics puts relative folders under its own
        except YoloAttnError as error:
            print(f"yolo-attn: {error}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
