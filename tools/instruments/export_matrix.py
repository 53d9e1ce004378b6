"""Measure which block exports to which format: by value, with its time and, on labelled images, its mAP.

Models: :mod:`instruments.random_models`, yolo11n with a block at three levels of the neck. Each block is
measured in a process of its own, since a converter may crash its process. Raw lines are appended to ``cells.jsonl``,
and what has a line is not measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import torch
import ultralytics
import yaml

from instruments.export_cells import FORMATS, blocks, cells_of
from instruments.export_table import to_markdown
from instruments.paths import variables
from instruments.random_models import (
    BASE_MODEL,
    NO_BLOCK,
    SITE,
    attention_layers,
    build,
    random_model,
    randomize,
)
from yolo_attn.export import host
from yolo_attn.export.check import differences, export_checked, photographs, unavailable_reason
from yolo_attn.models.insert import insert
from yolo_attn.speed.interleaved import interleaved
from yolo_attn.train import yolo
from yolo_attn.util import jsonl
from yolo_attn.util.env import environment
from yolo_attn.util.files import write_json
from yolo_attn.util.words import log_to_stderr
from yolo_attn.weights.transfer import transfer_weights

SETTINGS = {"fp32": {}, "fp16": {"half": True}, "int8": {"int8": True}}
RUNTIME_PACKAGES = ("onnx", "onnxruntime", "onnxslim", "openvino", "nncf", "ncnn", "pnnx")
CELLS, CHECKPOINT = "cells.jsonl", "model.pt"
Log = Callable[[str], None]


def left_out(model: Any, imgsz: int) -> dict[str, float]:
    """Return the difference of a model's outputs to those with its attention replaced by the identity."""
    images = photographs((1, 3, imgsz, imgsz))
    with torch.no_grad():
        wanted = model(images)[0]
        for layer in attention_layers(model):
            layer.forward = lambda x: x
        given = model(images)[0]
        for layer in attention_layers(model):
            del layer.forward
    return dict(zip(("worst", "typical"), differences([given], [wanted]), strict=True))


def calibration_set(folder: Path, imgsz: int, images: int = 16) -> Path:
    """Write a set of unlabelled crops of the photographs that ship with Ultralytics, and return its data YAML."""
    where = folder / "calibration" / "images"
    where.mkdir(parents=True, exist_ok=True)
    photos: list[Any] = [cv2.imread(str(file)) for file in sorted(Path(ultralytics.ASSETS).glob("*.jpg"))]
    for i in range(images):
        photo = photos[i % len(photos)]
        side = min(photo.shape[:2]) * (images - i // 2) // images
        top, left = (photo.shape[0] - side) * i // images, (photo.shape[1] - side) * i // images
        cv2.imwrite(
            str(where / f"{i:03d}.png"), cv2.resize(photo[top : top + side, left : left + side], (imgsz, imgsz))
        )
    data = folder / "calibration" / "data.yaml"
    names = {i: f"class {i}" for i in range(80)}
    content = {"path": str(where.parent.resolve()), "train": "images", "val": "images", "names": names}
    data.write_text(yaml.safe_dump(content), encoding="utf-8")
    return data


def computing_in_float32() -> contextlib.AbstractContextManager[None]:
    """Have OpenVINO, where it is installed, compute in float32 in a ``with`` block."""
    return host.openvino_in_float32() if find_spec("openvino") else contextlib.nullcontext()


# --- cells ------------------------------------------------------------------------------------------------------------
def measure(folder: Path, imgsz: int, log: Log, only: Iterable[str] = ()) -> None:
    """Measure every cell that has no line yet; raw lines go to ``cells.jsonl``.

    Args:
        folder: Folder of the raw lines, checkpoints and exported files.
        imgsz: Side of the images, in pixels.
        log: Receives progress lines.
        only: Blocks to measure; all by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = calibration_set(folder, imgsz)
    for block in list(only) or blocks():
        weights = folder / block / CHECKPOINT
        if not weights.is_file():
            weights.parent.mkdir(exist_ok=True)
            model = random_model(block, imgsz)
            if block != NO_BLOCK:
                _append(folder, {"block": block, "left_out": left_out(model, imgsz)})
            torch.save({"model": model, "train_args": {"imgsz": imgsz}}, weights)
        _in_own_process(folder, block, imgsz, data, log)


def _in_own_process(folder: Path, block: str, imgsz: int, data: Path, log: Log) -> None:
    while todo := missing_cells(folder, block):  # after a crash, resume behind the cell that caused it
        words = [sys.executable, "-m", "instruments.export_matrix", str(folder), block, str(imgsz), str(data)]
        done = subprocess.run(words, capture_output=True, text=True, env=variables())
        log(f"{block}: {len(todo)} cells, exit code {done.returncode}")
        if done.returncode:
            crashed = missing_cells(folder, block)[0]
            last = (done.stderr.strip().splitlines() or [""])[-1]
            _append(folder, {"block": block, **crashed, "error": f"exit code {done.returncode}: {last}"[:300]})


def missing_cells(folder: Path, block: str) -> list[dict[str, Any]]:
    """Return the cells of a block that have no line yet."""
    lines = [line for line in read_lines(folder) if line["block"] == block and "format" in line]
    there = [{key: line[key] for key in ("format", "precision", "dynamic")} for line in lines]
    cells = [{"format": format, **cell} for format in FORMATS for cell in cells_of(format)]
    return [cell for cell in cells if cell not in there]


def measure_block(folder: Path, block: str, imgsz: int, data: str) -> None:
    """Measure the missing cells of one block, in this process."""
    for cell in missing_cells(folder, block):
        format = cell["format"]
        line: dict[str, Any] = {"block": block, **cell}
        if reason := unavailable_reason(format):
            _append(folder, {**line, "not_measured": reason})
            continue
        settings = {**SETTINGS[cell["precision"]], "dynamic": cell["dynamic"], "imgsz": imgsz}
        began = time.perf_counter()
        try:
            if cell["precision"] == "int8":
                settings["data"] = data
            made = export_checked(_copy(folder, block, file_stem(cell)), format=format, **settings)
        except Exception as error:  # converters raise anything; it is recorded in the cell
            line["error"] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]
        else:
            line |= {"file": str(made.file.relative_to(folder)), "comparisons": made.as_dict()["comparisons"]}
        _append(folder, {**line, "seconds": time.perf_counter() - began})


def file_stem(cell: dict[str, Any]) -> str:
    """Return the name of a cell's folder."""
    return f"{cell['format']}-{cell['precision']}{'-dynamic' if cell.get('dynamic') else ''}"


def _copy(folder: Path, block: str, name: str) -> Path:
    """Copy a block's checkpoint to a new folder, because Ultralytics writes exports next to the checkpoint."""
    to = folder / block / name / CHECKPOINT
    to.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(folder / block / CHECKPOINT, to))


# --- time and mAP -----------------------------------------------------------------------------------------------------
def measure_speed(folder: Path, imgsz: int, log: Log, rounds: int = 60) -> None:
    """Time the exported models of each format and precision, interleaved; one line per format and precision."""
    images = photographs((1, 3, imgsz, imgsz))
    lines = [x for x in read_lines(folder) if "file" in x and not x["dynamic"] and _ran(x)]
    timed = {(x["timed"], x["precision"]) for x in read_lines(folder) if "timed" in x}
    for format, precision in [(f, p) for f in FORMATS for p in FORMATS[f] if (f, p) not in timed]:
        files = {x["block"]: folder / x["file"] for x in lines if (x["format"], x["precision"]) == (format, precision)}
        runs = {block: _call(host.open_exported(file), images) for block, file in files.items()}
        log(f"timing {len(runs)} models: {format} {precision}")
        times = list(interleaved(runs, rounds=rounds)) if runs else []
        _append(folder, {"block": NO_BLOCK, "timed": format, "precision": precision, "milliseconds": times})


def _ran(line: dict[str, Any]) -> bool:
    return all(c["worst"] is not None for c in line["comparisons"])


def _call(run: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Callable[[], Any]:
    return lambda: run(images)


def measure_accuracy(folder: Path, weights: str, data: str, names: Sequence[str], imgsz: int, log: Log) -> None:
    """Validate the checkpoint and the exported files of some blocks on labelled images; one line per file.

    The models have all of the weights, and blocks that start as the identity plus a little noise: they detect, and
    their attention has an effect. int8 is calibrated on the images it is validated on.
    """
    there = {(x["block"], x["validated"], x["precision"]) for x in read_lines(folder) if "validated" in x}
    files = [("pt", "fp32"), *((format, precision) for format in FORMATS for precision in FORMATS[format])]
    for block, format, precision in [(b, f, p) for b in names for f, p in files if (b, f, p) not in there]:
        file = folder / f"map-{block}" / CHECKPOINT
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"model": _detecting_model(block, weights), "train_args": {"imgsz": imgsz}}, file)
        if format != "pt":
            settings = {**SETTINGS[precision], **({"data": data} if precision == "int8" else {})}
            copy = _copy(folder, file.parent.name, file_stem({"format": format, "precision": precision}))
            file = host.export_model(yolo.YOLO(str(copy)), format=format, imgsz=imgsz, **settings).file
        box = _validated(file, data, imgsz)
        log(f"{block} {format} {precision}: mAP50-95 {box.map:.4f}")
        line = {"block": block, "validated": format, "precision": precision}
        _append(folder, {**line, "map": float(box.map), "map50": float(box.map50)})


def _detecting_model(block: str, weights: str) -> Any:
    torch.manual_seed(0)
    model = build(BASE_MODEL if block == NO_BLOCK else insert(BASE_MODEL, block, at=SITE, init="identity"))
    transfer_weights(model, weights)
    for attention in attention_layers(model):
        randomize(attention, scale=0.1)
    return model


def _validated(file: Path, data: str, imgsz: int) -> Any:
    settings = {"batch": 1, "rect": False, "plots": False, "verbose": False, "project": str(file.parent)}
    return yolo.YOLO(str(file), task="detect").val(data=data, imgsz=imgsz, **settings).box


# --- files ------------------------------------------------------------------------------------------------------------
def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the raw lines measured so far."""
    return jsonl.read(folder / CELLS) if (folder / CELLS).is_file() else []


def _append(folder: Path, line: dict[str, Any]) -> None:
    jsonl.append(folder / CELLS, line)


def write_environment(folder: Path) -> None:
    """Write hardware and the versions of exporters and runtimes to ``environment.json``."""
    runtimes = {name: version(name) for name in RUNTIME_PACKAGES if find_spec(name)}
    write_json(folder / "environment.json", {**environment("cpu"), **runtimes})


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/measure_export.py``: measure missing cells and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--blocks", type=lambda text: text.split(","), default=(), help="e.g. EMA,GAM; by default all")
    parser.add_argument("--map", nargs=2, metavar=("WEIGHTS", "DATA"), help="validate exported models on these images")
    parser.add_argument("--map-blocks", default="none,ELA,SE,NL")
    parser.add_argument("--show", action="store_true", help="measure nothing, print the tables of the stored lines")
    given = parser.parse_args(words)
    log = log_to_stderr("export")
    with contextlib.redirect_stdout(sys.stderr), computing_in_float32():  # Ultralytics logs to stdout
        if not given.show:
            measure(given.folder, given.imgsz, log, given.blocks)
            measure_speed(given.folder, given.imgsz, log)
            write_environment(given.folder)
        if given.map and not given.show:
            weights, data = given.map
            measure_accuracy(given.folder, weights, data, given.map_blocks.split(","), 320, log)
    print(to_markdown(read_lines(given.folder)))


if __name__ == "__main__":
    with computing_in_float32():
        measure_block(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
