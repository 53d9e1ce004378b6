"""timm's counterparts of the shipped blocks, with their weights if equivalent. timm is optional."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn

from yolo_attn import blocks
from yolo_attn.bench.tutorial import copy_weights

NOTES = {
    "SE": "same",
    "ECA": "same",
    "GC": "same (its LayerNorm set to our epsilon)",
    "CA": "same",
    "CBAM": "same (mean before maximum, so the kernel's two channels are swapped)",
    "cSE": "same (timm's SE with a bottleneck of C / 2)",
    "NL": "alike: a BatchNorm follows the last convolution",
    "ELA": "alike: a convolution and a one-group norm for each direction, and SiLU",
}
"""Differences of timm's counterpart of a block, by block; blocks without an entry have no counterpart."""


def timm_version() -> str | None:
    """Return timm's version, or ``None`` where it is not installed."""
    try:
        return version("timm")
    except PackageNotFoundError:
        return None


def is_same(name: str) -> bool:
    """Tell whether timm's block of this name is equivalent to the shipped one."""
    return NOTES.get(name, "").startswith("same")


def from_block(name: str, block: nn.Module) -> nn.Module | None:
    """Return timm's counterpart of a shipped block with default hyper-parameters, or ``None`` if timm has none.

    An equivalent counterpart gets copies of the block's weights; any other keeps its own.

    Args:
        name: YAML name of the block.
        block: The block.

    Raises:
        ImportError: If timm is not installed, or too old to have this block.
    """
    if name not in NOTES:
        return None
    made: Any = _MAKERS[name](block)
    if is_same(name):
        copy_weights(made, block)
    if name == "CBAM":
        kernel = made.spatial.conv.conv.weight
        kernel.data = kernel.data.flip(1)
    return made.train(block.training)


def _se(block: blocks.SE | blocks.CSE) -> nn.Module:
    from timm.layers import SEModule

    return SEModule(block.channels, rd_channels=block.squeeze.out_features, bias=block.squeeze.bias is not None)


def _eca(block: blocks.ECA) -> nn.Module:
    from timm.layers import EcaModule

    return EcaModule(kernel_size=block.kernel_size)


def _gc(block: Any) -> nn.Module:
    from timm.layers import GlobalContext

    transform = block.add_transform
    made: Any = GlobalContext(block.channels, fuse_add=True, fuse_scale=False, rd_channels=transform.down.out_features)
    made.mlp_add.norm.eps = transform.norm.eps
    return made


def _ca(block: blocks.CA) -> nn.Module:
    from timm.layers.coord_attn import CoordAttn

    return CoordAttn(block.channels, rd_channels=block.reduce.out_channels, bias=True)


def _cbam(block: blocks.CBAM) -> nn.Module:
    from timm.layers.cbam import CbamModule

    size = block.conv.kernel_size[0]
    made = CbamModule(block.channels, rd_channels=block.squeeze.out_features, spatial_kernel_size=size, mlp_bias=True)
    made.spatial.conv.bn.momentum = block.norm.momentum
    return made


def _nl(block: blocks.NL) -> nn.Module:
    from timm.layers.non_local_attn import NonLocalAttn

    return NonLocalAttn(block.channels, use_scale=False, rd_channels=block.theta.out_channels)


def _ela(block: blocks.ELA) -> nn.Module:
    from timm.layers.coord_attn import EfficientLocalAttn

    return EfficientLocalAttn(block.channels, kernel_size=block.conv.kernel_size[0])


_MAKERS: dict[str, Callable[[Any], nn.Module]] = {
    "SE": _se,
    "ECA": _eca,
    "GC": _gc,
    "CA": _ca,
    "CBAM": _cbam,
    "cSE": _se,
    "NL": _nl,
    "ELA": _ela,
}
