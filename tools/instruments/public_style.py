"""Measure models as public YAMLs write them: the mAP with pretrained weights, before training and after one epoch."""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import yolo_attn as ya
from yolo_attn.util.markdown import table
from yolo_attn.util.words import key_values

TRAINING: dict[str, Any] = {
    "epochs": 1,
    "warmup_epochs": 0,
    "optimizer": "SGD",
    "lr0": 0.001,
    "seed": 0,
    "plots": False,
}


def at_scale_n(file: str | Path, folder: str | Path) -> Path:
    """Copy a model YAML under a name of scale n, and return its path.

    Args:
        file: A model YAML, e.g. ``yolov8-C2f_EMA.yaml``; its rows may be written in any way.
        folder: Folder for the new file, e.g. ``yolov8n-C2f_EMA.yaml``.
    """
    return Path(shutil.copy(file, Path(folder) / re.sub(r"^(yolov?\d+)", r"\1n", Path(file).name)))


def measure(
    data: str,
    weights: str,
    files: Iterable[str],
    log: Callable[[str], None] = lambda line: None,
    train: bool = True,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Validate the pretrained model, and each model with its weights: as it stands, with ``init=identity``, trained.

    Args:
        data: Data YAML.
        weights: Checkpoint of the base model of all files.
        files: Model YAMLs.
        log: Receives progress lines.
        train: Whether to train one epoch.
        **settings: Arguments of Ultralytics' training and validation, e.g. ``imgsz=320``.

    Returns:
        One mapping per model: ``model``, ``tensors`` (loaded, of the base's), and the mAP: ``paper`` as the file
        states, ``before`` with ``init=identity``, ``after`` one epoch from there.
    """

    def mean_ap(yolo: Any) -> float:
        with tempfile.TemporaryDirectory() as scratch:
            return float(yolo.val(data=data, plots=False, verbose=False, project=scratch, **settings).box.map)

    base: Any = ya.YOLO(weights)
    total = len(base.model.state_dict())
    cases = [
        {"model": Path(weights).stem, "tensors": (total, total), "paper": None, "before": mean_ap(base), "after": None}
    ]
    log(str(cases[0]))
    for file in files:
        with tempfile.TemporaryDirectory() as scratch:
            written = at_scale_n(file, scratch)
            torch.manual_seed(TRAINING["seed"])
            paper = mean_ap(ya.YOLO(written).load(weights))
            model: Any = ya.YOLO(written).load(weights, init="identity")
            report = ya.transfer_weights(model, weights)
            loaded = sum(r.loaded_tensors for r in report.rows if not r.attention)
            before, after = mean_ap(model), None
            if train:
                model.train(data=data, project=scratch, pretrained=weights, **{**TRAINING, **settings})
                after = mean_ap(ya.YOLO(Path(model.trainer.last)))
        found = {"tensors": (loaded, total), "paper": paper, "before": before, "after": after}
        cases.append({"model": Path(file).stem, **found})
        log(str(cases[-1]))
    return cases


def to_markdown(cases: Iterable[Mapping[str, Any]]) -> str:
    """Return the cases as a table."""
    rows = [
        [
            case["model"],
            f"{case['tensors'][0]} of {case['tensors'][1]}",
            "" if case["paper"] is None else f"{case['paper']:.4f}",
            f"{case['before']:.10f}",
            "" if case["after"] is None else f"{case['after']:.4f}",
        ]
        for case in cases
    ]
    head = ["model", "tensors loaded", "mAP50-95 as it stands", "with init=identity", "after one epoch"]
    return "\n".join(table(head, rows))


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/measure_public_style.py``: measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", metavar="DATA.yaml")
    parser.add_argument("weights", metavar="WEIGHTS.pt")
    parser.add_argument("rest", nargs="+", metavar="MODEL.yaml | key=value")
    parser.add_argument("--no-training", action="store_true", help="validate only")
    given = parser.parse_args(words)
    files = [word for word in given.rest if "=" not in word]
    settings = key_values([word for word in given.rest if "=" in word])
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
        cases = measure(given.data, given.weights, files, log=print, train=not given.no_training, **settings)
    print(to_markdown(cases))
