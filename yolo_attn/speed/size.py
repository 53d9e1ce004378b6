"""Count parameters and GFLOPs of a built model, matrix products in attention included."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def count_gflops(model: nn.Module, imgsz: int) -> float:
    """Return the floating-point operations of one forward pass on one square image, in units of 1e9.

    Convolutions and matrix products are counted, also those computed by functions outside of layers, such as
    scaled dot-product attention; a multiply-add is two operations. Elementwise operations (activations,
    normalisation, gating, pooling) are not counted.

    Args:
        model: A YOLO model in evaluation mode.
        imgsz: Side of the image, in pixels.
    """
    first = next(model.parameters())
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter:
        model(torch.zeros(1, 3, imgsz, imgsz, device=first.device, dtype=first.dtype))
    return float(counter.get_total_flops() / 1e9)


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Count the two matrix products of scaled dot-product attention; shapes are ``(N, heads, positions, width)``."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


_attention_on_cpu = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)  # torch >= 2.2
_ATTENTION_ON_CPU = {_attention_on_cpu: _attention_flops} if _attention_on_cpu else {}  # not counted before torch 2.15
