"""Open finished checkpoints, and check that they can be compared: one task, the same classes, separate trainings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolo_attn.compare.finished_arms import PREDICTIONS
from yolo_attn.errors import YoloAttnError
from yolo_attn.host.checkpoints import open_checkpoint
from yolo_attn.host.loading import holds_attention

_NO_RECIPE = (
    "task", "mode", "model", "project", "name", "save_dir", "exist_ok", "resume", "device", "workers", "verbose",
    "plots", "save", "save_period", "cache", "cfg", "tracker", "val", "split", "conf", "iou", "max_det",
)  # fmt: skip
"""Training arguments that say nothing of how a model was trained."""
_RECIPE_FIRST = ("data", "epochs", "imgsz", "batch", "seed", "pretrained", "optimizer", "lr0")


@dataclass(frozen=True)
class Finished:
    """Facts that a checkpoint holds about itself.

    Attributes:
        file: The checkpoint.
        task: Task of its model.
        classes: Names of its classes.
        model: The model's YAML.
        shapes: Name and shape of every tensor.
        weights: Checksum of all tensors.
        attention: Whether the model has attention blocks.
        train_args: Arguments of the training, as far as they are stored and say how it was trained.
        data: Data YAML it was trained on, if that is stored.
        single_cls: Whether it was trained with all classes as one.
    """

    file: Path
    task: str
    classes: Mapping[int, str]
    model: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    weights: str
    attention: bool
    train_args: Mapping[str, Any]
    data: str | None
    single_cls: bool


def open_finished(file: Path) -> Finished:
    """Open a checkpoint.

    Raises:
        YoloAttnError: If it cannot be read, or holds no model.
    """
    held, checkpoint = open_checkpoint(file)
    if not isinstance(held, nn.Module):
        raise YoloAttnError(f"'{file}' holds weights without their model; a checkpoint of Ultralytics holds both")
    model: Any = held
    state = model.state_dict()
    args = dict(checkpoint.get("train_args") or {})
    return Finished(
        file=file,
        task=str(getattr(model, "task", None) or args.get("task") or "detect"),
        classes={int(k): str(v) for k, v in dict(model.names).items()},
        model=json.loads(json.dumps(model.yaml, default=str)),
        shapes={name: tuple(tensor.shape) for name, tensor in state.items()},
        weights=_checksum(state),
        attention=holds_attention(model),
        train_args=recipe_of(args),
        data=str(args["data"]) if args.get("data") else None,
        single_cls=bool(args.get("single_cls")),
    )


def recipe_of(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training arguments that say how a model was trained, the most telling first, ready for JSON.

    Of paths the last folder and the name are kept, as the same files lie elsewhere on other machines.
    """
    order = [*(k for k in _RECIPE_FIRST if k in args), *(k for k in args if k not in _RECIPE_FIRST)]
    return {k: _value(args[k]) for k in order if k not in _NO_RECIPE}


def _value(value: Any) -> Any:
    if isinstance(value, str | Path) and "/" in str(value):
        return "/".join(Path(str(value)).parts[-2:])
    return json.loads(json.dumps(value, default=str))


def _checksum(state: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


# --- checks -----------------------------------------------------------------------------------------------------------
def open_all(arms: Mapping[str, Sequence[Path]]) -> dict[Path, Finished]:
    """Open the checkpoints of all arms, and check that they can be compared; files of predictions are left out.

    Raises:
        YoloAttnError: If two are of different tasks or classes, or two of one arm are not trainings of one model.
    """
    opened = {f: open_finished(f) for files in arms.values() for f in files if f.suffix.lower() != PREDICTIONS}
    for first, other in _pairs(list(opened.values())):
        _check_alike(first, other)
    for name, files in arms.items():
        for first, other in _pairs([opened[file] for file in files if file in opened]):
            if first.shapes != other.shapes:
                raise YoloAttnError(
                    f"arm {name}: '{first.file}' and '{other.file}' are different models; the checkpoints of an arm "
                    f"are trainings of one model"
                )
        weights = {opened[file].weights: file for file in files if file in opened}
        if same := next((f for f in files if f in opened and weights[opened[f].weights] != f), None):
            raise YoloAttnError(
                f"arm {name}: '{same}' and '{weights[opened[same].weights]}' have the same weights; they are not two "
                f"trainings"
            )
    return opened


def _pairs(opened: Sequence[Finished]) -> Iterator[tuple[Finished, Finished]]:
    return ((opened[0], other) for other in opened[1:])


def _check_alike(first: Finished, other: Finished) -> None:
    if first.task != other.task:
        raise YoloAttnError(
            f"models for different tasks cannot be compared: '{first.file}' is for '{first.task}', '{other.file}' for "
            f"'{other.task}'"
        )
    if difference := classes_differ(first.classes, other.classes):
        raise YoloAttnError(
            f"models of different classes cannot be compared: '{first.file}' and '{other.file}' differ: {difference}"
        )


def classes_differ(some: Mapping[int, str], others: Mapping[int, str]) -> str | None:
    """Return the first difference between two lists of classes, or ``None``; upper and lower case are the same."""
    if len(some) != len(others):
        return f"{len(some)} and {len(others)} classes"
    for number, name in some.items():
        if name.strip().casefold() != others.get(number, "").strip().casefold():
            return f"class {number} is '{name}' and '{others.get(number)}'"
    return None
