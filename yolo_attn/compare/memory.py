"""Estimate the memory of a run before it has begun: weights and what the backward pass keeps of the forward pass."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from yolo_attn.compare.run_folder import RunSpec
from yolo_attn.compare.trainer import CUDA_CONTEXT_MB
from yolo_attn.host.model_files import write_model

_PROCESS_MB = 700.0
"""A process that trains on the CPU, without model and images: Python, torch and Ultralytics."""
_MARGIN = 1.5
"""For the loss, gradients on their way, workspaces of convolutions, and memory that is reserved and not used."""
_BYTES_PER_PARAMETER = 20
"""Weights, their moving average and gradients, and two moments of an optimizer, in single precision."""
_HALF = 0.6
"""Activations in mixed precision, of which some stay in single precision."""
_BATCH = 2


def estimate_mb(spec: RunSpec) -> float | None:
    """Return the memory in MB that a run takes on its device, or ``None`` where the model cannot be measured.

    The model computes one batch without values, on the device ``meta``, and what autograd keeps of it is counted, at
    the largest size of the images.

    Args:
        spec: The run.
    """
    settings = spec.overrides
    imgsz, scale = settings.get("imgsz", 640), settings.get("multi_scale") or 0
    side = int(imgsz if isinstance(imgsz, int) else max(imgsz)) * (1 + float(scale) if scale is not True else 1.5)
    try:
        parameters, kept = _counts(json.dumps(spec.model, default=str, sort_keys=True), math.ceil(side / 64) * 64)
    except Exception:  # a user's block may compute with values
        return None
    on_gpu = spec.device == "cuda"
    kept *= settings.get("batch", 16) * (_HALF if on_gpu and settings.get("amp", True) else 1)
    fixed = CUDA_CONTEXT_MB if on_gpu else _PROCESS_MB
    return float(fixed + _MARGIN * (kept + _BYTES_PER_PARAMETER * parameters) / 2**20)


@cache
def _counts(model: str, imgsz: int) -> tuple[int, float]:
    """Return the number of parameters, and the bytes that autograd keeps for one image."""
    from yolo_attn.train.yolo import YOLO

    content: Mapping[str, Any] = json.loads(model)
    with tempfile.TemporaryDirectory() as folder:
        built: Any = YOLO(str(write_model(content, Path(folder)))).model
    built = built.to("meta").train().requires_grad_(True)
    own = {id(tensor) for tensor in (*built.parameters(), *built.buffers())}
    kept: dict[int, torch.Tensor] = {}  # by storage, which is kept alive so that its number is not given again

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        built(torch.zeros(_BATCH, int(content.get("channels", 3)), imgsz, imgsz, device="meta"))
    size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return sum(p.numel() for p in built.parameters()), size / _BATCH
