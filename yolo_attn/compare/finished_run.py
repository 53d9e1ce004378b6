"""Evaluate one finished training, a checkpoint or a file of predictions, and store it like a run of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_attn.compare import run_folder
from yolo_attn.errors import YoloAttnError
from yolo_attn.util.env import environment


def evaluate(folder: Path, spec: run_folder.RunSpec) -> None:
    """Evaluate the file of a spec, and write records and result into the folder of the run.

    Raises:
        YoloAttnError: If the file is missing, or is not the one that the comparison was planned with.
    """
    from yolo_attn.blocks import fused

    file = Path(spec.finished or "")
    _check_file(file, spec)
    device = "cpu" if spec.device == "cpu" else "cuda:0"  # the visible GPU
    found, facts = (_predictions if spec.is_predictions else _checkpoint)(file, spec, device)
    where = environment(device)
    if not spec.is_predictions:
        where["fused"] = fused.used()
    result = {
        "key": spec.key,
        "arm": spec.arm,
        "seed": spec.seed,
        "file": file.name,
        **found.store(folder),
        **facts,
        "environment": where,
    }
    run_folder.finish(folder, result)


def _check_file(file: Path, spec: run_folder.RunSpec) -> None:
    if not file.is_file():
        raise YoloAttnError(f"'{file}' is not there any more")
    if run_folder.checksum(file.read_bytes()) != spec.finished_checksum:
        raise YoloAttnError(f"'{file}' changed since this comparison was planned; start it again")


def _checkpoint(file: Path, spec: run_folder.RunSpec, device: str) -> tuple[Any, dict[str, Any]]:
    from yolo_attn.compare import host
    from yolo_attn.compare.finished_files import open_finished
    from yolo_attn.speed import size
    from yolo_attn.train import yolo

    overrides = {**spec.overrides, "device": "cpu"} if device == "cpu" else spec.overrides
    model: Any = yolo.open_model(file, fuse=False)
    parameters, imgsz = size.count_parameters(model), _whole_strides(spec.overrides["imgsz"], model)
    found = host.evaluate(file, spec.data, imgsz, overrides, threads=spec.threads)
    opened = open_finished(file)
    return found, {
        "imgsz": imgsz,
        "device": device,
        "parameters": parameters,
        "gflops": round(size.count_gflops(yolo.open_model(file, fuse=True), imgsz), 6),
        "train_args": dict(opened.train_args),
        "weights_checksum": opened.weights,
    }


def _whole_strides(imgsz: int, model: Any) -> int:
    """Return the size of the images that Ultralytics makes of ``imgsz``: a multiple of the largest stride."""
    stride = int(max(model.stride))
    return math.ceil(imgsz / stride) * stride


def _predictions(file: Path, spec: run_folder.RunSpec, device: str) -> tuple[Any, dict[str, Any]]:
    from yolo_attn.compare.predictions_json import read_predictions
    from yolo_attn.host.data import check_data, labelled_images, prepare_data

    split, settings = spec.overrides["split"], _for_labels(spec.overrides)
    dataset = prepare_data(spec.data, settings, splits=[split])[split]
    names = check_data(spec.data, present=True)["names"]
    found = read_predictions(file, labelled_images(dataset), len(names), spec.overrides)
    facts = {"imgsz": spec.overrides["imgsz"], "device": device, "parameters": None, "gflops": None}
    return found.evaluated, {**facts, "weights_checksum": spec.finished_checksum, "predictions": found.facts}


def _for_labels(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {key: overrides[key] for key in ("imgsz", "single_cls", "classes") if overrides.get(key) is not None}
