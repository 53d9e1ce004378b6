"""Build models with random weights in which every parameter affects the output, so that a lost one is detected."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolo_attn.export.check import photographs
from yolo_attn.host import registry
from yolo_attn.models.insert import Insertion, insert
from yolo_attn.train import yolo

BASE_MODEL, NO_BLOCK, SITE = "yolo11n.yaml", "none", "neck:P3,P4,P5"


def random_model(block: str, imgsz: int, seed: int = 0) -> Any:
    """Return yolo11n with a block in the neck and random weights, in evaluation mode.

    Batch norms hold the statistics of photographs, no attention is the identity, and scores are around one half.

    Args:
        block: Name of the block, or ``NO_BLOCK``.
        imgsz: Side of the photographs, in pixels.
        seed: Seed of the weights.
    """
    torch.manual_seed(seed)
    model = build(BASE_MODEL if block == NO_BLOCK else insert(BASE_MODEL, block, at=SITE))
    for attention in attention_layers(model):
        randomize(attention)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # cumulative average
    with torch.no_grad():
        for scores in model.model[-1].cv3:
            scores[-1].bias.zero_()
        model.train()(photographs((4, 3, imgsz, imgsz)))
    for norm in norms:
        norm.momentum = 0.03
    return model.eval()


def build(source: str | Insertion) -> Any:
    """Return the model of a YAML file or of an insertion."""
    with tempfile.TemporaryDirectory() as scratch:
        file = source if isinstance(source, str) else source.save(Path(scratch) / "yolo11n-block.yaml")
        return yolo.YOLO(str(file)).model


def attention_layers(model: Any) -> list[Any]:
    """Return the layers of a model that are attention blocks."""
    return [layer for layer in model.model if registry.is_attention(layer)]


def randomize(module: nn.Module, scale: float = 1.0) -> None:
    """Add normal noise to every parameter, of the size of a usual initialization times ``scale``."""
    with torch.no_grad():
        for parameter in module.parameters():
            inputs = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.add_(torch.randn_like(parameter) * scale / inputs**0.5)


def randomize_norms(model: Any) -> None:
    """Add normal noise to biases and affine parameters, and draw the running statistics of batch norms."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 and parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        norms: list[Any] = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
