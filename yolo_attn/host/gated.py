"""Put attention inside a host block: the output or the input of one of its modules goes through a block.

The host block is built by Ultralytics' parser. The module whose output or input is gated then gets a class derived from
its own, and holds the block as its submodule ``attention``. Names of all other tensors, ``isinstance`` and ``fuse()``
are not affected.

There are three positions. ``outer`` gates the output of the host block. ``inner`` gates every residual branch inside
it, just before the shortcut is added, as Squeeze-and-Excitation in ResNet. ``concat`` gates the concatenated maps of a
pooling block, just before the convolution that merges them.
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

MERGING_CONVOLUTION = {"SPP": "cv2", "SPPF": "cv2", "SPPELAN": "cv5"}
"""Attribute that holds the convolution which reads the concatenated maps of a pooling block, by class name."""

STORED_AS = "yolo_attn.inside"
"""Module under which checkpoints store gated classes; files written by 0.1.0 hold this name."""

_INPUT_OF = "input_of__"  # before the name of a class whose input is gated
_FORWARDS = ("forward", "forward_fuse", "forward_split")  # the ways the host runs a module, before or after fuse()


class Gated:
    """Mixin for a host module: pass its output through the block that it holds as ``attention``."""

    attention: nn.Module

    @staticmethod
    def _gating(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        @functools.wraps(forward)
        def gated(self: Gated, *args, **kwargs) -> torch.Tensor:
            return self.attention(forward(self, *args, **kwargs))

        return gated

    def _get_name(self) -> str:  # the name that printing a model shows
        return f"{type(self).__bases__[1].__name__}_{type(self.attention).__name__}"


class GatedInput(Gated):
    """Mixin for a host module: pass its input through the block that it holds as ``attention``."""

    @staticmethod
    def _gating(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        @functools.wraps(forward)
        def gated(self: Gated, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
            return forward(self, self.attention(x), *args, **kwargs)

        return gated


def gated_class(host: type, mixin: type[Gated] = Gated) -> type:
    """Return the gated class of ``host``, importable from :mod:`yolo_attn.inside` by name."""
    return host if issubclass(host, Gated) else _made(host, mixin)


@made_once
def _made(host: type, mixin: type[Gated]) -> type:
    members = {name: mixin._gating(getattr(host, name)) for name in _FORWARDS if hasattr(host, name)}
    return derive(mixin, host, STORED_AS, members, _INPUT_OF if mixin is GatedInput else "")


def class_named(name: str) -> type:
    """Return a gated class by name, for unpickling in another process."""
    if name.startswith(_INPUT_OF):
        return gated_class(host_of(name.removeprefix(_INPUT_OF), STORED_AS), GatedInput)
    return gated_class(host_of(name, STORED_AS))


def host_class(module: nn.Module) -> type:
    """Return the class a module has in the host, gated or not."""
    return type(module).__bases__[1] if isinstance(module, Gated) else type(module)


def blocks_inside(module: nn.Module) -> dict[str, nn.Module]:
    """Return the attention blocks held inside host modules, by their path from ``module``."""
    gated = [(path, m) for path, m in module.named_modules() if isinstance(m, Gated)]
    return {f"{path}.attention" if path else "attention": m.attention for path, m in gated}


def attach(row: nn.Module, place: str | None, channels: int, make: Callable[[int], nn.Module]) -> list[nn.Module]:
    """Put blocks inside a built row.

    Args:
        row: A host block, or the ``nn.Sequential`` of its repeats.
        place: ``inner``, ``outer``, ``concat``, or ``None`` for ``inner`` where the host has residual branches, else
            ``outer``.
        channels: Channels of the row's result.
        make: Builds the block for a number of channels.

    Returns:
        The blocks.

    Raises:
        YoloAttnError: If the host has no such place.
    """
    made = []
    for host in list(row) if type(row) is nn.Sequential else [row]:
        mixin = GatedInput if place == "concat" else Gated
        for module, width in _gated_modules(host, place, channels):
            host_type: type = type(module)
            module.__class__ = gated_class(host_type, mixin)
            module.attention = make(width)
            made.append(module.attention)
    return made


def _gated_modules(host: nn.Module, place: str | None, channels: int) -> list[tuple[nn.Module, int]]:
    """Return the modules of a host block whose output, or with ``concat`` input, is gated, and its channels."""
    if place == "concat":
        merging = merging_convolution(host)
        if merging is None:
            raise YoloAttnError(
                f"{host_class(host).__name__} has no concatenation that can be gated; hosts of @concat are "
                f"{', '.join(MERGING_CONVOLUTION)}"
            )
        return [(merging, _first_conv(merging).in_channels)]
    branches = residual_branches(host) if place != "outer" else []
    if not branches and place == "inner":
        raise YoloAttnError(
            f"{host_class(host).__name__} has no residual branch inside, so only @outer"
            f"{'' if merging_convolution(host) is None else ' or @concat'} can be gated; hosts of @inner "
            f"{', '.join(RESIDUAL_BRANCHES)}"
        )
    return [(m, _width(m)) for m in branches] or [(host, channels)]


def merging_convolution(host: nn.Module) -> nn.Module | None:
    """Return the module of a host block that reads its concatenated maps, if there is one that can be gated."""
    names = [MERGING_CONVOLUTION[c.__name__] for c in type(host).__mro__ if c.__name__ in MERGING_CONVOLUTION]
    return getattr(host, names[0]) if names else None


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
    first = _first_conv(module)
    modes = {m: m.training for m in module.modules()}
    with torch.no_grad():
        width = module.eval()(first.weight.new_zeros(1, first.in_channels, 2, 2)).shape[1]
    for m, training in modes.items():
        m.training = training
    return width


def _first_conv(module: nn.Module) -> nn.Conv2d:
    return next(m for m in module.modules() if isinstance(m, nn.Conv2d))
