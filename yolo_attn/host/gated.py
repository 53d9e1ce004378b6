"""Put attention inside a host block: the output of one of its modules goes through a block.

The host block is built by Ultralytics' parser. The module whose output is gated then gets a class derived from its own,
and holds the block as its submodule ``attention``. Names of all other tensors, ``isinstance`` and ``fuse()`` are not
affected.

There are two positions. ``outer`` gates the output of the host block. ``inner`` gates every residual branch inside it,
just before the shortcut is added, as Squeeze-and-Excitation in ResNet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import nn

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.derived_class import derive, host_of, made_once

RESIDUAL_BRANCHES = {
    "Bottleneck": ("cv2",),
    "GhostBottleneck": ("conv",),
    "CIB": ("cv1",),
    "ResNetBlock": ("cv3",),
    "PSABlock": ("attn", "ffn"),
    "PSA": ("attn", "ffn"),
    "ABlock": ("attn", "mlp"),
    "HGBlock": ("ec",),
    "RepC3": ("m",),
    "C1": ("m",),
}
"""Attributes that hold the residual branches of host blocks, by class name."""

STORED_AS = "yolo_attn.inside"
"""Module under which checkpoints store gated classes; files written by 0.1.0 hold this name."""

_FORWARDS = ("forward", "forward_fuse", "forward_split")  # the ways the host runs a module, before or after fuse()


class Gated:
    """Mixin for a host module: pass its output through the block that it holds as ``attention``."""

    attention: nn.Module

    def _get_name(self) -> str:  # the name that printing a model shows
        return f"{type(self).__mro__[2].__name__}_{type(self.attention).__name__}"


@made_once
def gated_class(host: type) -> type:
    """Return the gated class of ``host``, importable from :mod:`yolo_attn.inside` by name."""
    if issubclass(host, Gated):
        return host
    members = {name: _gating(getattr(host, name)) for name in _FORWARDS if hasattr(host, name)}
    return derive(Gated, host, STORED_AS, members)


def _gating(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(forward)
    def gated(self: Gated, *args, **kwargs) -> torch.Tensor:
        return self.attention(forward(self, *args, **kwargs))

    return gated


def class_named(name: str) -> type:
    """Return a gated class by name, for unpickling in another process."""
    return gated_class(host_of(name, STORED_AS))


def host_class(module: nn.Module) -> type:
    """Return the class a module has in the host, gated or not."""
    return type(module).__mro__[2] if isinstance(module, Gated) else type(module)


def blocks_inside(module: nn.Module) -> dict[str, nn.Module]:
    """Return the attention blocks held inside host modules, by their path from ``module``."""
    gated = [(path, m) for path, m in module.named_modules() if isinstance(m, Gated)]
    return {f"{path}.attention" if path else "attention": m.attention for path, m in gated}


def attach(row: nn.Module, place: str | None, channels: int, make: Callable[[int], nn.Module]) -> list[nn.Module]:
    """Put blocks inside a built row.

    Args:
        row: A host block, or the ``nn.Sequential`` of its repeats.
        place: ``inner``, ``outer``, or ``None`` for ``inner`` where the host has residual branches, else ``outer``.
        channels: Channels of the row's result.
        make: Builds the block for a number of channels.

    Returns:
        The blocks.

    Raises:
        YoloAttnError: If ``inner`` is asked for and the host has no residual branch.
    """
    hosts = list(row) if type(row) is nn.Sequential else [row]
    made = []
    for host in hosts:
        branches = residual_branches(host) if place != "outer" else []
        if not branches and place == "inner":
            raise YoloAttnError(
                f"{type(host).__name__} has no residual branch inside, so only @outer can be gated; hosts of @inner "
                f"hold one of {', '.join(RESIDUAL_BRANCHES)}"
            )
        for module, width in [(m, _width(m)) for m in branches] or [(host, channels)]:
            host_type: type = type(module)
            module.__class__ = gated_class(host_type)
            module.attention = make(width)
            made.append(module.attention)
    return made


def residual_branches(host: nn.Module) -> list[nn.Module]:
    """Return the last module of every residual branch of a host block, itself one or holding several."""
    ends = []
    for unit in host.modules():
        names = next((RESIDUAL_BRANCHES[c.__name__] for c in type(unit).__mro__ if c.__name__ in RESIDUAL_BRANCHES), ())
        for name in names:
            end = getattr(unit, name)
            while isinstance(end, nn.Sequential):
                end = end[-1]
            ends.append(end)
    return ends


def _width(module: nn.Module) -> int:
    """Return the number of channels of a module's result, by running it on a map of 2 x 2."""
    first = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
    modes = {m: m.training for m in module.modules()}
    with torch.no_grad():
        width = module.eval()(first.weight.new_zeros(1, first.in_channels, 2, 2)).shape[1]
    for m, training in modes.items():
        m.training = training
    return width
