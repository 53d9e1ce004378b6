"""Build whole models with and without attention in the neck, and return functions to time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from yolo_attn.bench.cases import ModelCase
from yolo_attn.compare import host
from yolo_attn.host.model_files import write_model
from yolo_attn.models.controls import control_of
from yolo_attn.models.insert import insert, read_model
from yolo_attn.speed import passes
from yolo_attn.train import yolo

BASE, CONTROL = "base", "identity control"
AT = "neck:P3,P4,P5"


def check(base: str) -> None:
    """Check before the measurement that a base model exists and has a neck.

    Raises:
        YoloAttnError: Otherwise.
    """
    insert(base, "SE", at=AT)


def write_models(base: str, blocks: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write the YAMLs of a base model, its identity control, and the base with each block, and return their paths.

    The control has three layers that return their input: its ratio to the base shows the error of the measurement.

    Raises:
        YoloAttnError: If there is no such model, or it has no neck.
    """
    with_block = {block: insert(base, block, at=AT, init="identity").yaml for block in blocks}
    control = control_of(next(iter(with_block.values())), "identity")
    models = {BASE: read_model(base), CONTROL: control, **with_block}
    written = {}
    for name, model in models.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        written[name] = write_model(model, folder / name)
    return written


def build(case: ModelCase, files: dict[str, Path], imgsz: int, device: str) -> dict[str, Callable[[], object]]:
    """Build every model for a case and return functions to time: a forward pass, or a training step.

    Args:
        case: Precision, pass and batch.
        files: Model YAMLs by name.
        imgsz: Side of the images, in pixels.
        device: Torch device.
    """
    return {name: _function(case, file, imgsz, device) for name, file in files.items()}


def unavailable_reason(case: ModelCase, device: str) -> str | None:
    """Return why a case cannot be timed, or ``None``."""
    if case.dtype == "bf16":
        return "models run in fp32, or on CUDA in fp16 (training: mixed precision)"
    if case.dtype == "fp16" and device == "cpu":
        return "models run in fp16 on CUDA only"
    return None


def _function(case: ModelCase, file: Path, imgsz: int, device: str) -> Callable[[], object]:
    if case.pass_ == "training":
        model: nn.Module = yolo.open_model(file, fuse=False)
        return host.training_step(model, imgsz, case.batch, device, amp=case.dtype == "fp16")
    precision: Literal["fp32", "fp16"] = "fp16" if case.dtype == "fp16" else "fp32"
    model = passes.for_inference(yolo.open_model(file), device, precision)
    return passes.forward_pass(model, passes.random_images(case.batch, imgsz, device, precision))
