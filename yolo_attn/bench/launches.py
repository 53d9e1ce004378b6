"""Count kernels that are launched, and time what a launch costs the host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from yolo_attn.blocks import fused

_ROUNDS, _CALLS = 5, 4  # so few that the device's queue is never full


def planned(block: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[int, int] | None:
    """Return how many kernels the fused form of a block launches on a map, forward and backward, without a GPU.

    ``None`` where the block has no form, the form refuses, or Triton is missing.
    """
    name: Any = getattr(block, "fused", "")
    if not name:
        return None
    try:
        from yolo_attn.blocks.fused import node, slab
    except ImportError:
        return None
    form = fused._form(name)
    x = torch.empty(shape, dtype=dtype, device="meta", requires_grad=True)
    if form.refuses(block, x):
        return None
    with slab.recorded() as launches:
        y = node.compute(block.to(device="meta", dtype=dtype), x, form)
        forward = len(launches)
        y.backward(torch.empty_like(y))
    return forward, len(launches) - forward


def launched(run: Callable[[], object]) -> int | None:
    """Return how many kernels a call launches on a CUDA device, by torch's profiler; ``None`` where it cannot tell."""
    from torch.profiler import ProfilerActivity, profile

    try:
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            run()
            torch.cuda.synchronize()
        events: Any = profiler.events()
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events) or None
    except RuntimeError:  # the profiler of the driver is not for everyone
        return None


def host_us(run: Callable[[], object], synchronize: Callable[[], object]) -> float:
    """Return the microseconds that a call keeps the host, which does not wait for the device: median of five."""
    found = []
    for _ in range(_ROUNDS):
        synchronize()
        began = time.perf_counter()
        for _ in range(_CALLS):
            run()
        found.append((time.perf_counter() - began) / _CALLS * 1e6)
    synchronize()
    return statistics.median(found)
