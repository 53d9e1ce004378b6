"""Run forward passes of built models as in inference, to be timed, and measure their peak memory."""

from __future__ import annotations

import platform
from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolo_attn.speed.spec import Precision


def memory_format(device: str) -> torch.memory_format:
    """Return the memory format Ultralytics 8.4 uses for a ``.pt`` model: channels last on x86 CPUs, else contiguous."""
    has_mkldnn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    x86 = platform.machine() in ("x86_64", "AMD64") and has_mkldnn
    return torch.channels_last if device == "cpu" and x86 else torch.contiguous_format


def for_inference(model: nn.Module, device: str, precision: Precision) -> nn.Module:
    """Move a model to a device as Ultralytics does for inference, in its memory format and precision."""
    model = model.eval().to(device).to(memory_format=memory_format(device))
    return model.half() if precision == "fp16" else model


def random_images(batch: int, imgsz: int, device: str, precision: Precision, seed: int = 0) -> Tensor:
    """Return random images in [0, 1), equal for equal seeds on every device. Shape ``(batch, 3, imgsz, imgsz)``."""
    images = torch.rand(batch, 3, imgsz, imgsz, generator=torch.Generator().manual_seed(seed))
    return images.to(device=device, dtype=torch.float16 if precision == "fp16" else torch.float32)


def forward_pass(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """Return a function that runs one forward pass of a model in inference mode."""

    @torch.inference_mode()
    def run() -> object:
        return model(images)

    return run


def synchronizer(device: str) -> Callable[[], object]:
    """Return a function that waits until all work queued on a device is done."""
    kind = torch.device(device).type
    return {"cuda": lambda: torch.cuda.synchronize(device), "mps": torch.mps.synchronize}.get(kind, lambda: None)


def peak_memory_mb(model: nn.Module, images: Tensor) -> float | None:
    """Run a forward pass and return its peak memory on a CUDA device, in MB (1e6 bytes); ``None`` elsewhere.

    Counted are the model's parameters and buffers, the images, and everything torch allocates during the pass; other
    models on the device and the CUDA context are not counted.
    """
    run = forward_pass(model, images)
    if images.device.type != "cuda":
        run()
        return None
    run()  # allocate workspaces that are kept after the first pass
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    run()
    during = torch.cuda.max_memory_allocated(images.device) - before
    weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    return (weights + images.nbytes + during) / 1e6
