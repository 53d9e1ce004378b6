"""Random weights that affect the output: noise on every parameter, and batch statistics of real features."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def randomize(module: Module, std: float = 0.05, keep: bool = True) -> Module:
    """Add normal noise to every parameter, in place, because zeros of an identity start hide errors.

    Args:
        module: The module, whose parameters are changed.
        std: Standard deviation of the noise.
        keep: ``False`` replaces the parameters by the noise.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(keep).add_(torch.randn_like(parameter) * std)
    return module


def calibrate_norms(model: Module, images: Tensor) -> Module:
    """Set the running statistics of every batch norm from a batch of images, in place; end in evaluation mode."""
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = None  # the average of all batches
    with torch.no_grad():
        model.train()(images)
    return model.eval()
