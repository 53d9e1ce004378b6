"""CBAM in four kernels forward, three with running statistics; backward in three, and one for the weights of the MLP.

With ``a = scale * sigmoid(W1 (relu(W0 mean_p x + b0) + relu(W0 max_p x + b0)) + 2 b1)`` (C), ``x' = a x``,
``q_p = [max_c x'_p, mean_c x'_p]``, ``o = conv_k(q)``, ``s = scale * sigmoid(BN(o))``: ``y_p = x'_p s_p``.

1. ``pool``: mean and maximum of each channel.
2. ``squeeze``: ``a``, then ``q``.
3. ``convolve``: ``o``, and parts of the statistics of the batch. With running ones the next kernel computes ``o``.
4. ``write``: ``s`` and ``y``.

Backward:

1. ``reduce``: the gradient of ``BN(o)`` from ``sum_c gy_pc x'_pc``.
2. ``of_gates``: that of ``q``, by the transposed convolution, and parts of those of ``a`` and of the convolution.
3. ``write_gradient``: that of the MLP, and of ``x``.
4. ``of_layers``: those of ``W0``, ``b0``, ``W1``, ``b1``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor, nn

from yolo_attn.blocks.fused import cbam_kernels as kernels
from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers, parameters_of

_PROGRAMS = 264  # two for each multiprocessor of an H100
_MOST_BLOCKS = 64  # of an image: each program adds the parts of all
_TILE = 4096
_LARGEST_KERNEL = 11
_MOST_WEIGHTS = 2**17


def _refuses(block: Any, x: Tensor) -> str | None:
    """Refuse other norms, and what is too much to compute in each program."""
    norm, hidden, size = block.norm, block.squeeze.out_features, block.conv.kernel_size[0]
    if type(norm) is not nn.Identity and (type(norm) is not nn.BatchNorm2d or norm.running_mean is None):
        return f"its norm is {type(norm).__name__}, and not BatchNorm2d with running statistics"
    if type(norm) is nn.BatchNorm2d and norm.momentum is None:
        return "its norm has no momentum"
    if hidden * block.channels > _MOST_WEIGHTS:
        return f"a layer has {hidden} x {block.channels} weights, more than {_MOST_WEIGHTS}"
    return f"its kernel size is {size}, more than {_LARGEST_KERNEL}" if size > _LARGEST_KERNEL else None


def _parameters(block: Any) -> list[Tensor | None]:
    """Return those of the MLP, the convolution, and the norm with its running statistics; folded, it has but a bias."""
    found, norm = [*parameters_of(block.squeeze), *parameters_of(block.excite), block.conv.weight], block.norm
    if type(norm) is nn.Identity:
        return [*found, None, block.conv.bias, None, None]
    # .data: they are changed after the forward pass, and where they are, the backward pass does not read them
    return [*found, norm.weight, norm.bias, norm.running_mean.data, norm.running_var.data]


def _settings(block: Any) -> list[float]:
    """Return scale, kernel size, ``eps``, and whether the norm takes the statistics of the batch."""
    folded = type(block.norm) is nn.Identity
    return [block.scale, block.conv.kernel_size[0], *((0, 0) if folded else (block.norm.eps, block.norm.training))]


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes of rows, of maps, and of the statistics that the norm takes."""
    n, c, height, width = x.shape
    return [(n, 4 * c + 2 * len(parameters[1])), (n, 4, height * width), (3,)]


def _of_batch(settings: Numbers, maps: Tensor) -> bool:
    return bool(settings[3]) and maps.shape[0] * maps.shape[2] > 1


def _update(block: Any, saved: Sequence[Tensor]) -> None:
    """Update the running statistics."""
    norm = block.norm
    if _of_batch(_settings(block), saved[1]):
        norm.num_batches_tracked.add_(1)
        mean, var, _ = saved[2].detach().to(norm.running_mean.dtype).split(1)
        torch._foreach_lerp_([norm.running_mean, norm.running_var], [mean, var], norm.momentum)


def _forward(call: Call) -> None:
    x, y = call.maps
    rows, maps, statistics = call.saved
    w0, b0, w1, b1, kernel, *norm = call.parameters
    scale, size, eps, _ = call.settings
    programs, span, tile, mlp, taps = _grid(call.images, call.channels, call.positions, len(b0), int(size))
    sizes, of_x = (call.channels, call.positions, len(b0)), call.strides[:3]
    bc, bp = slab.narrow_tile(call.channels, call.positions, of_x[1], x.element_size())
    blocks = (call.images * triton.cdiv(call.channels, bc),)
    slab.launch(kernels.pool, blocks, x, rows, *sizes, *of_x, BC=bc, BP=bp)
    args = (x, rows, maps, w0, b0, w1, b1, *sizes, span, *of_x, scale)
    slab.launch(kernels.squeeze, programs, *args, **mlp, **tile)
    parts = call.new(*programs, 2) if _of_batch(call.settings, maps) else None
    if parts is not None:
        slab.launch(kernels.convolve, programs, maps, kernel, parts, *x.shape[2:], span, **taps, BP=tile["BP"])
    args = (x, y, rows, maps, statistics, parts, kernel, *norm, call.channels, *x.shape[2:], len(b0), span)
    number = triton.next_power_of_2(programs[0] * programs[1])
    slab.launch(kernels.write, programs, *args, *call.strides, eps, scale, **taps, NP=number, **tile)


def _backward(call: Call) -> Gradients:
    x, gy, gx = call.maps
    rows, maps, statistics = call.saved
    w0, b0, w1, _, kernel, *norm = call.parameters[:7]
    scale, size, _, _ = call.settings
    hidden, channels, of_batch = len(b0), call.channels, _of_batch(call.settings, maps)
    programs, span, tile, mlp, taps = _grid(call.images, channels, call.positions, hidden, int(size))
    sizes = (channels, call.positions, hidden, span)
    of_maps, parts = call.new(call.images, 3, call.positions), call.new(*programs, 2)
    args = (x, gy, rows, maps, of_maps, parts, *norm, *sizes, *call.strides[:6], scale)
    slab.launch(kernels.reduce, programs, *args, **tile)
    totals = parts.sum((0, 1)) if call.needs or of_batch else None
    of_gates, of_rows = call.new(*programs, channels), call.new(call.images, 3 * (channels + hidden))
    of_kernel = call.new(*programs, kernel.numel()) if call.needs else None
    args = (x, gy, maps, statistics, of_maps, totals if of_batch else None, of_gates, of_kernel, kernel, *norm)
    more = (channels, *x.shape[2:], span, *call.strides[:6], scale)
    slab.launch(kernels.of_gates, programs, *args, *more, BK=triton.next_power_of_2(int(size) ** 2), **taps, **tile)
    args = (gy, gx, rows, maps, of_maps, of_gates, of_rows, w0, w1, *norm, *sizes, *call.strides[3:], scale)
    slab.launch(kernels.write_gradient, programs, *args, BB=triton.next_power_of_2(programs[1]), **mlp, **tile)
    if of_kernel is None or totals is None:
        return ()
    layers, bc = [w0.numel(), hidden, w1.numel(), channels], 32
    of_layers = call.new(sum(layers))
    args = (rows, of_rows, of_layers, call.images, channels, hidden)
    slab.launch(kernels.of_layers, (triton.cdiv(channels, bc),), *args, HID=max(mlp["HID"], 16), BC=bc, BN=16)
    return [*of_layers.split(layers), of_kernel.sum((0, 1)), *totals.split(1)]


@functools.lru_cache(1000)
def _grid(images: int, channels: int, positions: int, hidden: int, size: int) -> tuple[Any, ...]:
    """Return the programs, the positions of each, and the sizes of tiles: of a map, of the MLP, of the convolution."""
    bp = min(triton.next_power_of_2(positions), 32)
    wanted = triton.cdiv(positions, min(_MOST_BLOCKS, triton.cdiv(_PROGRAMS, images)))
    span = triton.cdiv(wanted, bp) * bp
    hid, all_channels = triton.next_power_of_2(hidden), triton.next_power_of_2(channels)
    tile = {"BC": min(all_channels, _TILE // bp), "BP": bp}
    mlp = {"HID": hid, "CS": min(all_channels, max(_TILE // max(hid, _MOST_BLOCKS), 16))}
    return (
        (images, triton.cdiv(positions, span)),
        span,
        tile,
        mlp,
        {"K": size, "BT": triton.next_power_of_2(2 * size**2)},
    )


CBAM = Form(_forward, _backward, _saved, _settings, _parameters, _refuses, _update)
