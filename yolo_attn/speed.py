"""Size and speed of built models: parameters, GFLOPs with matrix products counted, latency side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolo_attn.timing import interleaved


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def count_gflops(model: nn.Module, imgsz: int) -> float:
    """Return the floating-point operations of one forward pass on one square image, in units of 1e9.

    Convolutions and matrix products are counted, the latter where tools that look at layers only miss them (attention
    computed by functions); a multiply-add is two operations.

    Args:
        model: A YOLO model in evaluation mode.
        imgsz: Side of the image, in pixels.
    """
    first = next(model.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, imgsz, imgsz, device=first.device, dtype=first.dtype))
    return counter.get_total_flops() / 1e9


def measure_latency(
    models: Mapping[str, nn.Module], imgsz: int, device: str, rounds: int = 30
) -> dict[str, list[float]]:
    """Time one forward pass on one image for several models, interleaved.

    Args:
        models: Models in evaluation mode, by name; moved to the device.
        imgsz: Side of the image, in pixels.
        device: Torch device.
        rounds: How often each model is timed.

    Returns:
        Milliseconds per model, round by round.
    """
    x = torch.rand(1, 3, imgsz, imgsz, device=device)
    functions = {name: _forward(model.to(device).eval(), x) for name, model in models.items()}
    synchronize = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    return interleaved(functions, rounds=rounds, synchronize=synchronize)


def _forward(model: nn.Module, x: torch.Tensor):
    @torch.inference_mode()
    def run() -> object:
        return model(x)

    return run
