"""Measure the memory that a module keeps for its backward pass, and its peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


class Kept(NamedTuple):
    """Memory that one forward pass keeps for the backward pass.

    Attributes:
        x: Whether the input itself is kept.
        maps: Bytes of everything else, as a multiple of the input's bytes.
    """

    x: bool
    maps: float


def kept_for_backward(module: nn.Module, x: Tensor) -> Kept:
    """Run a module forward and return the memory that autograd keeps: whole storages, each once.

    Parameters and buffers are not counted; a kept output is. Tensors that a custom function keeps outside of
    ``save_for_backward`` are not seen.

    Args:
        module: A module in training mode.
        x: Its input; requires a gradient.
    """
    saved: list[Tensor] = []  # keeps every storage alive, so that no address is reused

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    own = {_address(tensor) for tensor in (*module.parameters(), *module.buffers())}
    sizes = {_address(tensor): tensor.untyped_storage().nbytes() for tensor in saved}
    del y
    others = sum(size for address, size in sizes.items() if address not in own | {_address(x)})
    return Kept(_address(x) in sizes, others / x.nbytes)


def peak_maps(run: Callable[[], object], x: Tensor) -> float | None:
    """Return a function's peak memory on a CUDA device, in multiples of ``x``; elsewhere ``None``."""
    if x.device.type != "cuda":
        return None
    run()  # allocates workspaces, which stay and do not count
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    run()
    return (torch.cuda.max_memory_allocated(x.device) - before) / x.nbytes


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
