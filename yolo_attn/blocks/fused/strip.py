"""Pooling into strips and multiplying by gates of rows and columns, for all forms that gate by them.

*Strips* are the means of the rows and the columns of a channel, one after the other: ``(N, C, H + W)``, and what has
that shape: the gates, and gradients of both. A tile of a map is ``(BC, BR, BW)``, channels by rows by all columns.
"""

from __future__ import annotations

import functools
from typing import Any

import triton
import triton.language as tl

from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Call
from yolo_attn.blocks.fused.slab import vector

_TILE = 4096


@functools.lru_cache(1000)
def tile(channels: int, height: int, width: int) -> dict[str, int]:
    """Return the sizes of a tile for slabs of some channels, and a power of two that divides the width."""
    bw = triton.next_power_of_2(width)
    bc = min(triton.next_power_of_2(channels), max(_TILE // bw, 1))
    br = min(triton.next_power_of_2(height), max(_TILE // (bw * bc), 1))
    return {"CS": channels, "UNIT": min(width & -width, 16), "BC": bc, "BR": br, "BW": bw}


def launch(kernel: Any, call: Call, constants: dict[str, Any], *args: Any) -> None:
    """Start a program for each slab; the kernel gets the sizes of the map, the arguments and the constants."""
    n, channels, height, width = call.x.shape
    programs = (n * (channels // constants["CS"]),)
    slab.launch(kernel, programs, channels, height, width // constants["UNIT"], *args, **constants)


@triton.jit
def slab_of(channels, units, CS: tl.constexpr, UNIT: tl.constexpr):
    """Return the number of this program's slab, its image and first channel, and the width of the map."""
    program = tl.program_id(0).to(tl.int64)
    return program, program // (channels // CS), program % (channels // CS) * CS, units * UNIT


@triton.jit
def places(c, h, w, channels, height, width, channel_stride, position_stride):
    """Return the offsets of a tile ``(BC, BR, BW)``, and which are inside."""
    at = c[:, None, None] * channel_stride + (h[None, :, None] * width + w[None, None, :]) * position_stride
    inside = (c < channels)[:, None, None] & (h < height)[None, :, None] & (w < width)[None, None, :]
    return at, inside


@triton.jit
def read(x, c, h, w, channels, height, width, channel_stride, position_stride):
    """Return a tile of a map, 0 outside."""
    at, inside = places(c, h, w, channels, height, width, channel_stride, position_stride)
    return tl.load(x + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def load_strip(strips, c, at, channels, end, length):
    """Return the values ``(BC, BL)`` of strips at some positions, 0 outside."""
    inside = (c < channels)[:, None] & ((at >= 0) & (at < end))[None, :]
    return tl.load(strips + c[:, None] * length + at[None, :], mask=inside, other=0.0)


@triton.jit
def store_strip(strips, c, at, channels, end, length, values):
    """Write values ``(BC, BL)`` of strips at some positions."""
    inside = (c < channels)[:, None] & (at < end)[None, :]
    tl.store(strips + c[:, None] * length + at[None, :], values, mask=inside)


@triton.jit
def pool(
    x, strips, channels, height, width, xc, xp, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
    gy=None, gates=None, gc=0, gp=0, scale=1.0, line=None,
):  # fmt: skip
    """Write the means of rows and columns of a slab; with ``gy`` the gradients of the logits of the gates instead.

    Those of the gates are the sums over rows, or columns, of ``gy * x *`` the other gate. A ``line`` is a slope, a
    factor and a shift for each channel: ``slope * gy + factor * x * both gates + shift`` is taken in place of ``gy``.
    """
    w, length = tl.arange(0, BW), height + width
    for first in range(0, channels, BC):
        c = first + tl.arange(0, BC)
        total = tl.zeros([BC, BR, BW], tl.float32)
        if gy is not None:
            column = load_strip(gates + height, c, w, channels, width, length)
        for start in range(0, height, BR):
            h = start + tl.arange(0, BR)
            values = read(x, c, h, w, channels, height, width, xc, xp)
            if gy is None:
                total += values
                of_row = tl.sum(values, 2) / width
            else:
                row = load_strip(gates, c, h, channels, height, length)
                of_y = read(gy, c, h, w, channels, height, width, gc, gp)
                if line is not None:
                    of_y *= vector(line, c, channels)[:, None, None]
                    factor = vector(line + channels, c, channels)[:, None] * row
                    of_y += factor[:, :, None] * values * column[:, None, :]
                    of_y += vector(line + 2 * channels, c, channels)[:, None, None]
                total += values * of_y * row[:, :, None]
                of_row = tl.sum(values * of_y * column[:, None, :], 2) * row * (1 - row / scale)
            store_strip(strips, c, h, channels, height, length, of_row)
        of_column = tl.sum(total, 1)
        of_column = of_column / height if gy is None else of_column * column * (1 - column / scale)
        store_strip(strips + height, c, w, channels, width, length, of_column)


@triton.jit
def multiply(
    x, gates, of_means, y, channels, height, width, xc, xp, yc, yp,
    BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    """Write a slab times the gates of its rows and columns; the gradient, if that of the means is given."""
    w, length = tl.arange(0, BW), height + width
    for first in range(0, channels, BC):
        c = first + tl.arange(0, BC)
        of_column = load_strip(gates + height, c, w, channels, width, length)
        if of_means is not None:
            shift_of_column = load_strip(of_means + height, c, w, channels, width, length) / height
        for start in range(0, height, BR):
            h = start + tl.arange(0, BR)
            of_row = load_strip(gates, c, h, channels, height, length)
            values = read(x, c, h, w, channels, height, width, xc, xp)
            values = values * of_row[:, :, None] * of_column[:, None, :]
            if of_means is not None:
                shift_of_row = load_strip(of_means, c, h, channels, height, length) / width
                values += shift_of_row[:, :, None] + shift_of_column[:, None, :]
            at, inside = places(c, h, w, channels, height, width, yc, yp)
            tl.store(y + at, values.to(y.dtype.element_ty), mask=inside)
