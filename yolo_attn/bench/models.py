"""Build whole models with and without attention in the neck, and return functions to time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from torch import nn

from yolo_attn.bench.arms import captured, switched
from yolo_attn.bench.cases import ModelCase
from yolo_attn.blocks import ATTENTION_BLOCKS, fused
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


def build(
    case: ModelCase, files: dict[str, Path], imgsz: int, device: str, with_fused: bool = False
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """Build every model for a case; return functions to time, a forward pass or a training step, and what is left out.

    Args:
        case: Precision, pass, batch, and whether to capture the pass as a CUDA graph.
        files: Model YAMLs by name.
        imgsz: Side of the images, in pixels.
        device: Torch device.
        with_fused: Whether to build the models with blocks that have a fused form once more, with that switched on.
    """
    functions: dict[str, Callable[[], object]] = {}
    left_out: dict[str, str] = {}
    for name, file in files.items():
        make = partial(_function, case, file, imgsz, device)
        functions[name] = switched(False, switched(False, make)())
        if with_fused and name in ATTENTION_BLOCKS and ATTENTION_BLOCKS[name].fused:
            if why := fused.unavailable():
                left_out[f"{name} fused"] = why
                continue
            functions[f"{name} fused"] = switched(True, switched(True, make)())
    return functions, left_out


def unavailable_reason(case: ModelCase, device: str) -> str | None:
    """Return why a case cannot be timed, or ``None``."""
    if case.dtype == "bf16":
        return "models run in fp32, or on CUDA in fp16 (training: mixed precision)"
    if case.graph and not device.startswith("cuda"):
        return "graphs are captured on CUDA only"
    if case.dtype == "fp16" and device == "cpu":
        return "models run in fp16 on CUDA only"
    return None


def _function(case: ModelCase, file: Path, imgsz: int, device: str) -> Callable[[], object]:
    if case.pass_ == "training":
        model: nn.Module = yolo.open_model(file, fuse=False)
        return host.training_step(model, imgsz, case.batch, device, amp=case.dtype == "fp16")
    precision: Literal["fp32", "fp16"] = "fp16" if case.dtype == "fp16" else "fp32"
    model = passes.for_inference(yolo.open_model(file), device, precision)
    run = passes.forward_pass(model, passes.random_images(case.batch, imgsz, device, precision))
    return captured(run) if case.graph else run
