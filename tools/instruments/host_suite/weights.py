"""Make weights under the names of the tests' weights: random ones that detect something, and others with attention."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

NAMES = (
    "yolo26n", "yolo26n-seg", "yolo26n-pose", "yolo26n-obb", "yolo26n-cls", "yolo26n-sem", "yolo26n-depth",
    "yolo26s", "yolo26s-seg", "yolo26s-pose", "yolo26s-obb", "yolo11n", "yolo11n-grayscale", "rtdetr-l",
    "FastSAM-s", "yoloe-26n-seg", "yoloe-26n-seg-pf",
)  # fmt: skip
DETECTORS = ("yolo26n", "yolo11n")
"""Names that a given file of weights replaces, because some tests look at what is detected."""
OTHERS = {"yolo11n-grayscale": {"ch": 1}, "FastSAM-s": {"nc": 1}}
"""Settings of a model that its YAML lacks."""
SPACES = "path with spaces"
PLACES = ("neck:P3,P4,P5", "backbone:P5", "pre-detect")
"""Tried in turn: classifiers have no neck."""


def model_yaml(name: str) -> str:
    """Return the name of the YAML of which a file of weights has its architecture.

    Examples:
        >>> model_yaml("yolo26n-seg"), model_yaml("FastSAM-s"), model_yaml("yolo11n-grayscale")
        ('yolo26n-seg.yaml', 'yolov8s-seg.yaml', 'yolo11n.yaml')
    """
    name = name.removesuffix("-pf").removesuffix("-grayscale")
    return f"{ {'FastSAM-s': 'yolov8s-seg'}.get(name, name) }.yaml"


# --- plain ------------------------------------------------------------------------------------------------------------
def make_plain(folder: Path, given: Path | None = None, seed: int = 0) -> None:
    """Write random weights for every name, and the two files of other formats that tests open.

    Args:
        folder: The folder of weights in Ultralytics' settings.
        given: Real weights of a detector, to be used for ``DETECTORS``.
        seed: Of the random weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    for name in NAMES:
        if given and name in DETECTORS:
            shutil.copy(given, folder / f"{name}.pt")
        else:
            torch.save(checkpoint(name), folder / f"{name}.pt")
    _write_mobile_sam(folder / "mobile_sam.pt")
    copy_where_tests_look(folder)


def checkpoint(name: str) -> dict[str, Any]:
    """Return a checkpoint of random weights, with the entries of those that Ultralytics publishes."""
    import ultralytics
    from ultralytics import RTDETR, YOLO
    from ultralytics.cfg import TASK2DATA

    opened = (RTDETR if name.startswith("rtdetr") else YOLO)(model_yaml(name))
    model, task = _rebuilt(opened.model, name), opened.task
    arguments = {"task": task, "imgsz": 640, "model": model_yaml(name), "data": TASK2DATA[task]}
    model.args, model.task = arguments, task
    model.names = {index: f"kind{index}" for index in model.names}
    let_detect(model)
    return {
        "epoch": -1,
        "best_fitness": None,
        "model": model.half(),
        "ema": None,
        "optimizer": None,
        "train_args": arguments,
        "version": ultralytics.__version__,
    }


def _rebuilt(model: Any, name: str) -> Any:
    """Return the model with the number of channels or classes that its name stands for."""
    return type(model)(model_yaml(name), **OTHERS[name], verbose=False) if name in OTHERS else model


def let_detect(model: Any) -> None:
    """Raise the first class of the coarsest level of a detection head above the usual threshold, in place."""
    head = model.model[-1]
    if type(head).__name__ in ("Detect", "Segment", "Segment26", "Pose", "Pose26", "OBB", "OBB26"):
        for branch in filter(None, (getattr(head, "cv3", None), getattr(head, "one2one_cv3", None))):
            with torch.no_grad():
                branch[-1][-1].bias[0] = 0.0


def _write_mobile_sam(file: Path) -> None:
    from ultralytics.models.sam.build import build_mobile_sam

    torch.save(build_mobile_sam().state_dict(), file)


def copy_where_tests_look(folder: Path) -> None:
    """Copy weights to the other places and names under which tests open them."""
    (folder / SPACES).mkdir(exist_ok=True)
    for file in folder.glob("yolo26n*.pt"):
        shutil.copy(file, folder / SPACES)
    assets = folder / "solution_assets"
    assets.mkdir(exist_ok=True)
    shutil.copy(folder / "yolo26n.pt", assets / "solutions_ci_parking_model.pt")


def make_torchvision(folder: Path) -> None:
    """Write random weights for the backbones that some YAMLs take from torchvision, where torch looks for downloads.

    Args:
        folder: ``TORCH_HOME``.
    """
    import torchvision

    target = folder / "hub" / "checkpoints"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("resnet18",):
        url = torchvision.models.get_model_weights(name).DEFAULT.url
        torch.save(torchvision.models.get_model(name).state_dict(), target / url.rsplit("/", 1)[-1])


# --- with attention ---------------------------------------------------------------------------------------------------
def make_attention(plain: Path, folder: Path, block: str, places: Sequence[str] = PLACES) -> None:
    """Write weights with identity attention, made as a user makes them: insert, load, save.

    Args:
        plain: Folder of plain weights.
        folder: Folder to write to, with the same names.
        block: Name of the block.
        places: Where to put it; of several the first that a model has.
    """
    import yolo_attn as ya

    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(plain.glob("*.pt")):
        if file.stem not in NAMES:
            shutil.copy(file, folder)
            continue
        made = insert_first(str(file), block, places).save(folder / model_yaml(file.stem))
        model = ya.YOLO(str(made))
        if other := OTHERS.get(file.stem):
            model.model = type(model.model)(str(made), **other, verbose=False)
        model.load(str(file))
        model.save(folder / file.name)
        made.unlink()
    copy_where_tests_look(folder)


def make_yamls(folder: Path, block: str, places: Sequence[str] = PLACES) -> list[str]:
    """Write all of the host's model YAMLs with identity attention, and return the names of those without a place."""
    from ultralytics.utils import ROOT

    from yolo_attn import YoloAttnError

    folder.mkdir(parents=True, exist_ok=True)
    left_out = []
    for file in sorted((ROOT / "cfg" / "models").rglob("*.yaml")):
        try:
            insert_first(file.name, block, places).save(folder / file.name)
        except YoloAttnError:
            left_out.append(file.name)
    return left_out


def insert_first(base: str, block: str, places: Iterable[str]) -> Any:
    """Insert an identity block at the first place that the model has."""
    from yolo_attn import YoloAttnError, insert

    refused = []
    for place in places:
        try:
            return insert(base, [(block, place)], init="identity")
        except YoloAttnError as error:
            refused.append(str(error))
    raise YoloAttnError(f"{base}: " + "; ".join(refused))
