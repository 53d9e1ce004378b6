"""Export a model as Ultralytics does, then run the file in its runtime and compare it with PyTorch by value.

An export can be wrong without an error: a size frozen by tracing shows at another size only, and a gate lost in the
conversion leaves a model that still detects something. The exported file runs on photographs, at its own size and, if
it is dynamic, at another size and batch. Its outputs are compared value by value with those of the PyTorch model in
float32, with its normalisations not folded.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import ultralytics
from torch import Tensor

from yolo_attn.export.host import Exported, export_model, open_exported
from yolo_attn.train.yolo import YOLO

TOLERANCES = {"fp32": 1e-3, "fp16": 3e-2, "int8": 0.15}
"""Largest differences of an exported model from PyTorch, by its precision; another precision counts as int8.

In float32 it is the largest difference of any value that counts. With fewer bits a box that hardly anything speaks for
may jump, so it is the root mean square over all places, in the channel (a coordinate, a class) where that is largest.
"""

RUNTIMES = {
    "torchscript": (),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "ncnn": ("ncnn",),
    "engine": ("tensorrt",),
    "coreml": ("coremltools",),
    "saved_model": ("tensorflow",),
    "pb": ("tensorflow",),
    "litert": ("ai_edge_litert",),
    "tflite": ("tensorflow",),
    "mnn": ("MNN",),
    "paddle": ("paddle",),
    "executorch": ("executorch",),
}
"""The modules that run each format. What is not listed here runs on a device of its own."""


@dataclass(frozen=True)
class Comparison:
    """Outputs of an exported model compared with PyTorch on one batch of images.

    Attributes:
        shape: Batch, channels, height and width of the images.
        precision: Of the exported model.
        worst: Largest difference of any value: of a score, or of a box as a share of the image; ``inf`` where the file
            could not be run, or gave another number of values or none.
        typical: Root mean square of the differences in the channel where it is largest.
        error: Error of the runtime, if the file could not be run.
    """

    shape: tuple[int, ...]
    precision: str
    worst: float
    typical: float
    error: str = ""

    @property
    def tolerance(self) -> float:
        """Limit of the difference that counts."""
        return TOLERANCES.get(self.precision, TOLERANCES["int8"])

    @property
    def passed(self) -> bool:
        """Whether the two are the same within the tolerance."""
        return (self.worst if self.precision == "fp32" else self.typical) <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it; an infinite difference is ``null``."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}
        return {**finite, "tolerance": self.tolerance, "passed": self.passed}

    def __str__(self) -> str:
        found = f"{'x'.join(map(str, self.shape))}: worst difference {self.worst:.2g}"
        found += "" if self.precision == "fp32" else f", typical {self.typical:.2g}"
        return f"{found}, tolerance {self.tolerance:g}" + (f" ({self.error})" if self.error else "")


@dataclass(frozen=True)
class CheckedExport:
    """An exported file and the results of its checks.

    Attributes:
        file: The file or folder.
        format: Ultralytics' name of the format.
        precision: ``fp32``, ``fp16`` or ``int8``.
        comparisons: One for each batch of images that was tried.
        not_checked: Why none was tried; empty otherwise.
    """

    file: Path
    format: str
    precision: str
    comparisons: tuple[Comparison, ...] = ()
    not_checked: str = ""

    @property
    def failures(self) -> list[str]:
        """One line for each comparison that failed: format, size, worst difference and tolerance."""
        return [f"{self.format} {self.precision}, {c}" for c in self.comparisons if not c.passed]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it; an infinite difference is ``null``."""
        found = [c.as_dict() for c in self.comparisons]
        return {**asdict(self), "file": str(self.file), "comparisons": found, "passed": not self.failures}

    def __str__(self) -> str:
        if self.not_checked:
            return f"{self.file}\n{self.format} {self.precision}: not checked here: {self.not_checked}"
        lines = [
            f"{self.format} {self.precision}, {c}: {'as PyTorch' if c.passed else 'WRONG'}" for c in self.comparisons
        ]
        return "\n".join([str(self.file), *lines])


def export_checked(model: str | Path | YOLO, /, **settings: Any) -> CheckedExport:
    """Export a model and check the file.

    Args:
        model: A checkpoint or a model.
        **settings: What ``ultralytics.YOLO.export`` takes, e.g. ``format="onnx", dynamic=True``.

    Returns:
        The file, and how it compares with PyTorch. A file that is wrong is not an error here: see ``failures``.
    """
    return check(export_model(model if isinstance(model, YOLO) else YOLO(str(model)), **settings))


def check(exported: Exported) -> CheckedExport:
    """Compare an exported file with PyTorch, at the size it was made for and at another where it takes any."""
    named = (exported.file, exported.format, exported.precision)
    if reason := unavailable_reason(exported.format):
        return CheckedExport(*named, not_checked=reason)
    run = open_exported(exported.file, exported.device)
    shapes = [exported.shape, *([second_shape(exported)] if exported.dynamic else [])]
    return CheckedExport(*named, comparisons=tuple(_compare(exported, run, shape) for shape in shapes))


def unavailable_reason(format: str) -> str:
    """Return why a format cannot run here; empty if it can."""
    if format not in RUNTIMES:
        return f"{format} runs on a device of its own"
    if format == "coreml" and sys.platform != "darwin":
        return "CoreML models run on macOS only"
    if absent := [name for name in RUNTIMES[format] if importlib.util.find_spec(name) is None]:
        return f"{absent[0]} is not installed"
    return ""


def second_shape(exported: Exported) -> tuple[int, int, int, int]:
    """Return a shape other than that of the trace, for dynamic files; for TensorRT, one within its profile."""
    batch, channels, height, width = exported.shape
    step = max(exported.stride, 32)  # a classifier's own would hardly change anything
    lower = height - step if height > step else height + step
    if exported.format == "engine":
        return max(batch - 1, 1), channels, lower, width - step if width > step else width
    fixed = exported.format == "coreml" or type(exported.reference).__name__ == "NMSModel"
    return (batch if fixed else batch + 1), channels, lower, width + step


def photographs(shape: tuple[int, ...]) -> Tensor:
    """Return a batch of images: the two that ship with Ultralytics, resized and shifted, or else noise.

    Args:
        shape: Batch, channels, height and width.

    Returns:
        Values in [0, 1]; uniform noise where there are not three channels.
    """
    batch, channels, height, width = shape
    if channels != 3:
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))
    files = sorted(Path(ultralytics.ASSETS).glob("*.jpg"))
    read: list[Any] = [cv2.imread(str(files[i % len(files)])) for i in range(batch)]
    pictures = [cv2.resize(picture, (width, height)) for picture in read]
    pictures = [np.roll(picture, i * 16, axis=1)[..., ::-1] for i, picture in enumerate(pictures)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().float() / 255


def _compare(exported: Exported, run: Callable[[Tensor], Any], shape: tuple[int, ...]) -> Comparison:
    images = photographs(shape).to(exported.device)
    with torch.no_grad():
        expected = exported.reference(images)
    try:
        actual = run(images)
    except Exception as error:  # runtimes raise errors of many types
        lines = str(error).strip().splitlines()
        message = lines[-1].strip() if lines else type(error).__name__
        return Comparison(shape, exported.precision, math.inf, math.inf, message)
    return Comparison(shape, exported.precision, *differences(_tensors(actual), _tensors(expected), exported.ranked))


def differences(actual: list[Tensor], expected: list[Tensor], ranked: bool = False) -> tuple[float, float]:
    """Return how far two models' outputs are apart, at worst and typically.

    Each channel of an output (a coordinate, the score of a class, a mask's coefficient) has its own scale, which is its
    largest value in PyTorch, but at least 1. So scores are compared as they are, and boxes as shares of the image.

    Args:
        actual: Outputs of the exported model.
        expected: Those of PyTorch.
        ranked: Whether the first output is a list of detections, ``(N, detections, values)``. Two of almost the same
            score may then change places, and the last may be another one.

    Returns:
        The largest difference of any value, and the root mean square in the channel where it is largest; ``inf`` where
        shapes differ or a value is not a number.
    """
    if not expected or [t.shape for t in actual] != [t.shape for t in expected]:
        return math.inf, math.inf
    found = [
        _detection_differences(g, w) if ranked and i == 0 and w.ndim == 3 else _value_differences(g, w)
        for i, (g, w) in enumerate(zip(actual, expected, strict=True))
    ]
    worst = max(_finite(d.abs().max()) for d in found)
    return worst, max(_finite(d.square().flatten(1).mean(1).sqrt().max()) for d in found)


def _value_differences(actual: Tensor, expected: Tensor) -> Tensor:
    """Return the differences by channel, ``(C, values)``."""
    over = [dim for dim in range(expected.ndim) if dim != 1]
    scale = expected.abs().amax(over, keepdim=True).clamp_min(1)
    return ((actual - expected) / scale).transpose(0, 1).flatten(1)


def _detection_differences(actual: Tensor, expected: Tensor) -> Tensor:
    """Return the differences of detections to the nearest of the other list, ``(1, values)``."""
    scale = expected.abs().amax((0, 1)).clamp_min(1)
    scale[5] = 1  # the number of a class
    apart = (actual[:, :, None] / scale - expected[:, None] / scale).abs().amax(3)  # (N, actual, expected)
    scores = actual[..., 4], expected[..., 4]
    kept = [s > s.amin(1, keepdim=True) + TOLERANCES["fp16"] for s in scores]  # the others may have been cut off
    return torch.cat([apart.amin(2)[kept[0]], apart.amin(1)[kept[1]], (scores[0] - scores[1]).abs().flatten()])[None]


def _finite(value: Tensor) -> float:
    return float(value) if math.isfinite(value) else math.inf


def _tensors(output: Any) -> list[Tensor]:
    """Return the tensors of an output, nested or not, in float32 on the CPU."""
    if isinstance(output, Tensor):
        return [output.detach().float().cpu()]
    if isinstance(output, np.ndarray):
        return [torch.from_numpy(output).float()]
    return [t for part in output for t in _tensors(part)] if isinstance(output, Iterable) else []
