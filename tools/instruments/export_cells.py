"""List the cells of the export table: shipped blocks by formats, precisions, and fixed or dynamic sizes."""

from __future__ import annotations

from typing import Any

from instruments.random_models import NO_BLOCK
from yolo_attn.host import registry

FORMATS = {
    "torchscript": ("fp32",),
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "int8"),
    "ncnn": ("fp32", "fp16"),
}
"""Precisions of each format that runs on any CPU."""
DYNAMIC = ("torchscript", "onnx", "openvino")


def blocks() -> list[str]:
    """Return the names of the measured models: ``none`` without attention, and every shipped block."""
    return [NO_BLOCK, *registry.SHIPPED_ALIASES]


def cells_of(format: str) -> list[dict[str, Any]]:
    """Return the cells of a format: each precision at a fixed size, and float32 with dynamic sizes if it has them."""
    fixed = [{"precision": precision, "dynamic": False} for precision in FORMATS[format]]
    return fixed + ([{"precision": "fp32", "dynamic": True}] if format in DYNAMIC else [])
