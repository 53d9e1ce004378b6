"""Equations of every block in plain tensor algebra, stated a second time, and the cases to compare them in.

Nothing here uses ``nn.Module`` or a function of the package. An equation takes the feature map, the block's state dict,
the scale of its sigmoid gates (of no meaning to a block that is blended in), and whether the block is in training mode.
"""

from __future__ import annotations

import torch

from support.equations import convolutional, first_ring, full_maps, grouped, pooled, routed

CASES = [  # block, channels, arguments, equation
    *first_ring.CASES,
    *convolutional.CASES,
    *full_maps.CASES,
    *grouped.CASES,
    *pooled.CASES,
    *routed.CASES,
]


def case_id(value):
    if isinstance(value, dict):
        return "-".join(f"{k}={v}" for k, v in value.items()) or "default"
    return "" if callable(value) else str(value)


def randomized(block):
    """Set every parameter and running statistic to a random value."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
            tensor.data.copy_(values.abs() + 0.5 if name.endswith("running_var") else 1.5 * values / fan_in**0.5)
    return block


def run(module, x, upstream):
    """Return output, gradient of the input and of each parameter, and buffers after a forward and backward pass."""
    x = x.clone().requires_grad_(True)
    y = module(x)
    gradients = torch.autograd.grad(y, [x, *module.parameters()], upstream)
    return [y.detach(), *gradients], list(module.buffers())
