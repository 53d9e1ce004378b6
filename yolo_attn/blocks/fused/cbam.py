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
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers

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
    """Return those of the MLP, the convolution, and the norm with its running statistics."""
    found = [block.squeeze.weight, block.squeeze.bias, block.excite.weight, block.excite.bias, block.conv.weight]
    norm = block.norm
    if type(norm) is nn.Identity:
        return [*found, block.conv.bias]
    # .data: they are changed after the forward pass, and where they are, the backward pass does not read them
    return [*found, norm.weight, norm.bias, norm.running_mean.data, norm.running_var.data]


def _settings(block: Any) -> list[float]:
    """Return scale, kernel size, ``eps``, and whether the norm takes the statistics of the batch."""
    folded = type(block.norm) is nn.Identity
    return [block.scale, block.conv.kernel_size[0], *((0, 0) if folded else (block.norm.eps, block.norm.training))]


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes: rows, maps, places of maxima, and the statistics of the batch if the norm takes them."""
    n, c, height, width = x.shape
    batch = [(3,)] if settings[3] and n * height * width > 1 else []
    return [(n, 3 * c + 2 * len(parameters[1])), (n, 3, height * width), (n, c + height * width), *batch]


def _update(block: Any, saved: Sequence[Tensor]) -> None:
    """Update the running statistics."""
    if len(saved) == 4:
        norm = block.norm
        norm.num_batches_tracked.add_(1)
        mean, _, var = saved[3].detach().to(norm.running_mean.dtype).split(1)
        torch._foreach_lerp_([norm.running_mean, norm.running_var], [mean, var], norm.momentum)


def _forward(call: Call) -> None:
    x, y = call.maps
    rows, maps, index, batch = (*call.saved, None)[:4]
    w0, b0, w1, b1, kernel, *norm = call.parameters
    scale, size, eps, _ = call.settings
    index = index.view(torch.int32)
    programs, span, tile, mlp, taps = _grid(call.images, call.channels, call.positions, len(b0), int(size))
    sizes, of_x = (call.channels, call.positions, len(b0)), call.strides[:3]
    bc, bp = slab.narrow_tile(call.channels, call.positions, of_x[1], x.element_size())
    blocks = (call.images * triton.cdiv(call.channels, bc),)
    slab.launch(kernels.pool, blocks, x, rows, index, *sizes, *of_x, BC=bc, BP=bp)
    args: tuple[Any, ...] = (x, rows, index, maps, w0, b0, w1, b1, *sizes, span, *of_x, scale)
    slab.launch(kernels.squeeze, programs, *args, **mlp, **tile)
    parts = None
    if batch is not None:
        parts = call.new(*programs, 2)
        args = (maps, kernel, parts, call.positions, *x.shape[2:], span)
        slab.launch(kernels.convolve, programs, *args, **taps, BP=tile["BP"])
    args = (x, y, rows, maps, parts, batch, kernel, *_norm(norm, None), *sizes, span, *x.shape[2:])
    number = triton.next_power_of_2(programs[0] * programs[1])
    slab.launch(kernels.write, programs, *args, *call.strides, eps, scale, **taps, NP=number, **tile)


def _backward(call: Call) -> Gradients:
    x, gy, gx = call.maps
    rows, maps, index, batch = (*call.saved, None)[:4]
    w0, b0, w1, _, kernel, *norm = call.parameters
    scale, size, eps, _ = call.settings
    hidden, channels, index = len(b0), call.channels, index.view(torch.int32)
    programs, span, tile, mlp, taps = _grid(call.images, channels, call.positions, hidden, int(size))
    sizes, both = (channels, call.positions, hidden, span), (*call.strides[:6], eps, scale)
    of_norm = _norm(norm, batch)
    of_maps, parts = torch.empty_like(maps), call.new(*programs, 2)
    args: tuple[Any, ...] = (x, gy, rows, maps, of_maps, parts, *of_norm, *sizes)
    slab.launch(kernels.reduce, programs, *args, *both, **tile)
    totals = parts.sum((0, 1)) if call.needs or batch is not None else None
    of_kernel = call.new(*programs, kernel.numel()) if call.needs else None
    of_gates, of_rows = call.new(*programs, channels), call.new(call.images, 3 * (channels + hidden))
    args = (x, gy, rows, index, maps, of_maps, None if batch is None else totals, of_gates, of_kernel, kernel)
    more = {**taps, "BK": triton.next_power_of_2(int(size) ** 2)}
    slab.launch(kernels.of_gates, programs, *args, *of_norm, *sizes, *x.shape[2:], *both, **more, **tile)
    args = (gy, gx, rows, index, maps, of_maps, of_gates, of_rows, w0, w1, *of_norm, *sizes)
    more = {**mlp, "BB": triton.next_power_of_2(programs[1])}
    slab.launch(kernels.write_gradient, programs, *args, *call.strides[3:], eps, scale, **more, **tile)
    if of_kernel is None or totals is None:
        return ()
    layers = [w0.numel(), hidden, w1.numel(), channels]
    of_layers, bc = call.new(sum(layers)), 32
    args = (rows, of_rows, of_layers, call.images, channels, hidden)
    slab.launch(kernels.of_layers, (triton.cdiv(channels, bc),), *args, HID=max(mlp["HID"], 16), BC=bc, BN=16)
    of_bias, of_weight = totals.split(1)
    found = [*of_layers.split(layers), of_kernel.sum((0, 1))]
    return [*found, of_bias] if len(norm) == 1 else [*found, of_weight, of_bias]


def _norm(norm: Sequence[Tensor], batch: Tensor | None) -> list[Tensor | None]:
    """Return mean, variance, weight and bias as the kernels take them; an identity has but the convolution's bias."""
    if len(norm) == 1:
        return [None, None, None, norm[0]]
    mean, var = norm[2:] if batch is None else batch.split(1)[:2]
    return [mean, var, norm[0], norm[1]]


@functools.lru_cache(1000)
def _grid(images: int, channels: int, positions: int, hidden: int, size: int) -> tuple[Any, ...]:
    """Return the programs, the positions of each, and the sizes of tiles: of a map, of the MLP, of the convolution."""
    bp = min(triton.next_power_of_2(positions), 32)
    wanted = triton.cdiv(positions, min(_MOST_BLOCKS, triton.cdiv(_PROGRAMS, images)))
    span = triton.cdiv(wanted, bp) * bp
    blocks, hid, all_channels = (
        triton.cdiv(positions, span),
        triton.next_power_of_2(hidden),
        triton.next_power_of_2(channels),
    )
    tile = {"BC": min(all_channels, _TILE // bp), "BP": bp}
    mlp = {"HID": hid, "CS": min(all_channels, max(_TILE // max(hid, _MOST_BLOCKS), 16))}
    return (images, blocks), span, tile, mlp, {"K": size, "BT": triton.next_power_of_2(2 * size**2)}


CBAM = Form(_forward, _backward, _saved, _settings, _parameters, _refuses, _update)
