"""Export models by Ultralytics, and open exported files."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from ultralytics.engine.model import Model
from ultralytics.nn.autobackend import AutoBackend

from yolo_attn.errors import like
from yolo_attn.host.compat import quantization_bits, redirected
from yolo_attn.models.built import model_layers
from yolo_attn.train.yolo import YOLO, run_host_command


class Exported(NamedTuple):
    """An exported file and the PyTorch model that it has to equal.

    Attributes:
        file: The file or folder.
        format: Ultralytics' name of the format.
        precision: ``fp32``, ``fp16``, ``int8``, or Ultralytics' name of another.
        reference: The model in PyTorch and float32, not fused, giving what the exported one is to give.
        shape: Batch, channels, height and width it was traced with.
        stride: What height and width are multiples of.
        dynamic: Whether it takes other batches and sizes.
        ranked: Whether it gives a list of detections, the best first, instead of every prediction in its place.
        device: Torch device.
    """

    file: Path
    format: str
    precision: str
    reference: nn.Module
    shape: tuple[int, int, int, int]
    stride: int
    dynamic: bool
    ranked: bool
    device: torch.device


def export_model(model: YOLO, /, **settings: Any) -> Exported:
    """Export a model as Ultralytics does.

    Args:
        model: The model; it is not changed.
        **settings: What ``ultralytics.YOLO.export`` takes.

    Raises:
        YoloAttnError: If what the format needs is not installed, and Ultralytics could not install it.
    """
    exporters: list[Any] = []
    model.add_callback("on_export_end", exporters.append)
    try:
        file = model.export(**settings)
    except ModuleNotFoundError as error:
        raise like(
            error,
            f"format={settings.get('format')} needs {error.name}, which is not installed, and which Ultralytics could "
            f"not install; pip install 'yolo-attn[export]' brings what ONNX, OpenVINO and NCNN need",
        ) from error
    finally:
        model.callbacks["on_export_end"].remove(exporters.append)
    (exporter,) = exporters
    arguments = exporter.args
    reference = _as_exported(model.model, exporter)
    return Exported(
        file=Path(file),
        format=arguments.format,
        precision=_precision(arguments),
        reference=reference,
        shape=tuple(exporter.im.shape),
        stride=int(max(model.model.stride)),
        dynamic=bool(arguments.dynamic),
        ranked=bool(arguments.nms or getattr(_head(exporter.model), "end2end", False)),
        device=exporter.device,
    )


def run_export_command(words: Sequence[str]) -> Exported | None:
    """Run ``yolo export ...``, and return the exported model, if any."""
    made: list[Exported] = []
    exported = inspect.unwrap(Model.export)

    def export(model: YOLO, /, **settings: Any) -> str:
        with redirected(Model, export=exported):
            made.append(export_model(model, **settings))
        return str(made[-1].file)

    with redirected(Model, export=export):
        run_host_command(words)
    return made[0] if made else None


def open_exported(file: Path, device: torch.device | str = "cpu") -> Callable[[torch.Tensor], Any]:
    """Return a function that runs an exported file on a batch of images, by way of Ultralytics' own reader of it.

    OpenVINO computes in float32, not in bfloat16, which is its default on a CPU that has units for it.
    """
    with openvino_in_float32() if file.name.endswith("_openvino_model") else contextlib.nullcontext():
        return AutoBackend(str(file), torch.device(device))


@contextlib.contextmanager
def openvino_in_float32() -> Iterator[None]:
    """Have OpenVINO compile models for float32 in this thread, in a ``with`` block."""
    import openvino

    compiled = inspect.unwrap(openvino.Core.compile_model)

    def compile_model(self: Any, *args: Any, config: Any = None, **more: Any) -> Any:
        return compiled(self, *args, config={**(config or {}), "INFERENCE_PRECISION_HINT": "f32"}, **more)

    with redirected(openvino.Core, compile_model=compile_model):
        yield


def _as_exported(model: nn.Module, exporter: Any) -> nn.Module:
    """Return a model whose head is configured as the exporter configures it."""
    reference = deepcopy(model).to(exporter.device).float().eval()
    head, written = _head(reference), _head(exporter.model)
    for name in ("export", "dynamic", "max_det", "agnostic_nms", "xyxy", "end2end", "bake_argmax"):
        if hasattr(written, name) and getattr(head, name, None) != getattr(written, name):  # 8.4.0: not all can be set
            setattr(head, name, getattr(written, name))
    head.format = "torchscript"  # the one for which no head does anything else than in PyTorch
    if not exporter.args.nms:
        return reference
    from ultralytics.engine.exporter import NMSModel  # not in the first releases of 8.3

    return NMSModel(reference, exporter.args)


def _head(model: nn.Module) -> Any:
    return model_layers(model)[-1]


def _precision(arguments: Any) -> str:
    bits = quantization_bits(arguments)
    return {32: "fp32", 16: "fp16", 8: "int8"}.get(bits, str(bits))
