"""Measure models as public YAMLs write them: the mAP with pretrained weights, before training and after one epoch."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import yolo_attn as ya
from yolo_attn.host.model import means_block, split_name
from yolo_attn.util.markdown import table
from yolo_attn.util.words import key_values

TRAINING = {"epochs": 1, "warmup_epochs": 0, "optimizer": "SGD", "lr0": 0.001, "seed": 0, "plots": False}


def started_as_identity(file: str | Path, folder: str | Path) -> Path:
    """Write a model YAML of scale n whose blocks all start as the identity, and return its path.

    Args:
        file: A model YAML, e.g. ``yolov8-C2f_EMA.yaml``; its rows may be written in any way.
        folder: Folder for the new file, e.g. ``yolov8n-C2f_EMA.yaml``.
    """
    model = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    for section in ("backbone", "head"):
        model[section] = [_identity(row) for row in model[section]]
    written = Path(folder) / re.sub(r"^(yolov?\d+)", r"\1n", Path(file).name)
    written.write_text(yaml.safe_dump(model), encoding="utf-8")
    return written


def _identity(row: list[Any]) -> list[Any]:
    if not (means_block(row[2]) or split_name(row[2])):
        return row
    *args, last = row[3] or [{}]
    if not isinstance(last, Mapping):
        args, last = [*args, last], {}
    return [*row[:3], [*args, {**last, "init": "identity"}]]


def measure(
    data: str, weights: str, files: Iterable[str], log: Callable[[str], None] = lambda line: None, **settings: Any
) -> list[dict[str, Any]]:
    """Validate the pretrained model, and each model with its weights before and after one epoch of training.

    Args:
        data: Data YAML.
        weights: Checkpoint of the base model of all files.
        files: Model YAMLs.
        log: Receives progress lines.
        **settings: Arguments of Ultralytics' training and validation, e.g. ``imgsz=320``.

    Returns:
        One mapping per model: ``model``, ``tensors`` (loaded, of the base's), ``before``, ``after``.
    """

    def mean_ap(yolo: Any) -> float:
        with tempfile.TemporaryDirectory() as scratch:
            return float(yolo.val(data=data, plots=False, verbose=False, project=scratch, **settings).box.map)

    base: Any = ya.YOLO(weights)
    total = len(base.model.state_dict())
    cases = [{"model": Path(weights).stem, "tensors": (total, total), "before": mean_ap(base), "after": None}]
    log(str(cases[0]))
    for file in files:
        with tempfile.TemporaryDirectory() as scratch:
            model: Any = ya.YOLO(started_as_identity(file, scratch))
            report = ya.transfer_weights(model, weights)
            loaded = sum(r.loaded_tensors for r in report.rows)
            before = mean_ap(model)
            model.train(data=data, project=scratch, pretrained=weights, **{**TRAINING, **settings})
            after = mean_ap(ya.YOLO(Path(model.trainer.last)))
        cases.append({"model": Path(file).stem, "tensors": (loaded, total), "before": before, "after": after})
        log(str(cases[-1]))
    return cases


def to_markdown(cases: Iterable[Mapping[str, Any]]) -> str:
    """Return the cases as a table."""
    rows = [
        [
            case["model"],
            f"{case['tensors'][0]} of {case['tensors'][1]}",
            f"{case['before']:.10f}",
            "" if case["after"] is None else f"{case['after']:.4f}",
        ]
        for case in cases
    ]
    return "\n".join(table(["model", "tensors loaded", "mAP50-95 before training", "after one epoch"], rows))


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/measure_public_style.py``: measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", metavar="DATA.yaml")
    parser.add_argument("weights", metavar="WEIGHTS.pt")
    parser.add_argument("rest", nargs="+", metavar="MODEL.yaml | key=value")
    given = parser.parse_args(words)
    files = [word for word in given.rest if "=" not in word]
    settings = key_values([word for word in given.rest if "=" in word])
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
        cases = measure(given.data, given.weights, files, log=print, **settings)
    print(to_markdown(cases))
