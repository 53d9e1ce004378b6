"""Size and speed of built models: parameters, GFLOPs with matrix products counted, forward passes side by side."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Precision = Literal["fp32", "fp16"]


# --- size -------------------------------------------------------------------------------------------------------------
def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def count_gflops(model: nn.Module, imgsz: int) -> float:
    """Return the floating-point operations of one forward pass on one square image, in units of 1e9.

    Convolutions and matrix products are counted, the latter where tools that look at layers only miss them (attention
    computed by functions); a multiply-add is two operations. What is done element by element (activations,
    normalisation, gating, pooling) is not.

    Args:
        model: A YOLO model in evaluation mode.
        imgsz: Side of the image, in pixels.
    """
    first = next(model.parameters())
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter:
        model(torch.zeros(1, 3, imgsz, imgsz, device=first.device, dtype=first.dtype))
    return counter.get_total_flops() / 1e9


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Count the two products of scaled dot-product attention; shapes are ``(N, heads, positions, width)``."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


_attention_on_cpu = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)  # torch >= 2.2
_ATTENTION_ON_CPU = {_attention_on_cpu: _attention_flops} if _attention_on_cpu else {}  # not counted before torch 2.15


# --- speed ------------------------------------------------------------------------------------------------------------
def memory_format(device: str) -> torch.memory_format:
    """Return the layout Ultralytics 8.4 runs a ``.pt`` model in: channels last on x86 CPUs, contiguous elsewhere."""
    x86 = platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()
    return torch.channels_last if device == "cpu" and x86 else torch.contiguous_format


def for_inference(model: nn.Module, device: str, precision: Precision) -> nn.Module:
    """Move a model to a device as Ultralytics does for inference, in its layout and precision."""
    model = model.eval().to(device=device, memory_format=memory_format(device))
    return model.half() if precision == "fp16" else model


def random_images(batch: int, imgsz: int, device: str, precision: Precision, seed: int = 0) -> Tensor:
    """Return ``(batch, 3, imgsz, imgsz)`` random pixels in [0, 1), the same for the same seed on every device."""
    images = torch.rand(batch, 3, imgsz, imgsz, generator=torch.Generator().manual_seed(seed))
    return images.to(device=device, dtype=torch.float16 if precision == "fp16" else torch.float32)


def forward_pass(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """Return a function that runs a model on a batch, as inference does."""

    @torch.inference_mode()
    def run() -> object:
        return model(images)

    return run


def waiting_for(device: str) -> Callable[[], object]:
    """Return a function that waits until a device has done what it was given."""
    kind = torch.device(device).type
    return {"cuda": lambda: torch.cuda.synchronize(device), "mps": torch.mps.synchronize}.get(kind, lambda: None)


def peak_memory_mb(model: nn.Module, images: Tensor) -> float | None:
    """Run one forward pass and return the most memory it took on a CUDA device, in MB (1e6 bytes).

    Counted are the model's parameters and buffers, the images, and all that torch allocates during the pass; not
    counted are other models on the device and the CUDA context. On other devices torch keeps no such count: ``None``.
    """
    run = forward_pass(model, images)
    if images.device.type != "cuda":
        run()
        return None
    run()  # what stays allocated after a first pass, such as workspaces, is not the pass's
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    run()
    during = torch.cuda.max_memory_allocated(images.device) - before
    weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    return (weights + images.nbytes + during) / 1e6
