"""sSE in one kernel each way; a program owns a few positions of an image, with all channels.

``z_p = w . x_p + bias``, ``y_p = x_p G_p``, ``G_p = scale * sigmoid(z_p)``.
"""

from __future__ import annotations

import functools
from typing import Any

import triton
import triton.language as tl

from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Call, Form, Gradients
from yolo_attn.blocks.fused.slab import load, store


@functools.lru_cache(1000)
def _tile(channels: int, positions: int) -> tuple[int, dict[str, int]]:
    """Return the number of blocks of positions of an image, and the sizes of a tile."""
    rows, columns = min(triton.next_power_of_2(channels), 128), min(triton.next_power_of_2(positions), 32)
    return triton.cdiv(positions, columns), {"BC": rows, "BP": columns}


def _launch(kernel: Any, call: Call, blocks: int, tile: dict[str, int], *parts: Any) -> None:
    args = (*call.maps, *parts, *call.parameters, call.channels, call.positions, *call.strides, *call.settings)
    slab.launch(kernel, (call.images * blocks,), *args, **tile)


def _forward(call: Call) -> None:
    _launch(_forward_kernel, call, *_tile(call.channels, call.positions))


def _backward(call: Call) -> Gradients:
    blocks, tile = _tile(call.channels, call.positions)
    parts = call.new(call.images * blocks, call.channels + 1) if call.needs else None
    _launch(_backward_kernel, call, blocks, tile, parts)
    return () if parts is None else parts.sum(0).split(call.channels)


@triton.jit
def _positions(positions, BP: tl.constexpr):
    """Return the image and the positions ``(BP,)`` of a program."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(positions, BP)
    return program // blocks, (program % blocks).to(tl.int32) * BP + tl.arange(0, BP)


@triton.jit
def _forward_kernel(
    x, y, weight, bias, channels, positions, xn, xc, xp, yn, yc, yp, scale, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    n, p = _positions(positions, BP)
    x += n * xn
    y += n * yn
    products = tl.zeros([BC, BP], tl.float32)
    for start in range(0, channels, BC):
        c = start + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        w = tl.load(weight + c, mask=c < channels, other=0.0).to(tl.float32)
        products += load(x, c, p, xc, xp, inside) * w[:, None]
    z = tl.sum(products, 0)
    if bias is not None:
        z += tl.load(bias).to(tl.float32)
    gate = scale * tl.sigmoid(z)
    for start in range(0, channels, BC):
        c = start + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        store(y, c, p, yc, yp, inside, load(x, c, p, xc, xp, inside) * gate[None, :])


@triton.jit
def _backward_kernel(
    x, gy, gx, parts, weight, bias, channels, positions, xn, xc, xp, gn, gc, gp, on, oc, op, scale,
    BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    n, p = _positions(positions, BP)
    x += n * xn
    gy += n * gn
    gx += n * on
    products = tl.zeros([BC, BP], tl.float32)
    of_gate = tl.zeros([BC, BP], tl.float32)
    for start in range(0, channels, BC):
        c = start + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        w = tl.load(weight + c, mask=c < channels, other=0.0).to(tl.float32)
        values = load(x, c, p, xc, xp, inside)
        products += values * w[:, None]
        of_gate += load(gy, c, p, gc, gp, inside) * values
    z = tl.sum(products, 0)
    if bias is not None:
        z += tl.load(bias).to(tl.float32)
    s = tl.sigmoid(z)
    of_z = tl.sum(of_gate, 0) * scale * s * (1 - s)
    part = tl.program_id(0).to(tl.int64) * (channels + 1)
    for start in range(0, channels, BC):
        c = start + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        w = tl.load(weight + c, mask=c < channels, other=0.0).to(tl.float32)
        of_y = load(gy, c, p, gc, gp, inside)
        store(gx, c, p, oc, op, inside, of_y * (scale * s)[None, :] + w[:, None] * of_z[None, :])
        if parts is not None:
            of_w = tl.sum(load(x, c, p, xc, xp, inside) * of_z[None, :], 1)
            tl.store(parts + part + c, of_w, mask=c < channels)
    if parts is not None:
        tl.store(parts + part + channels, tl.sum(of_z))


SSE = Form(_forward, _backward)
