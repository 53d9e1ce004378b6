"""Pooling into strips and multiplying by gates of rows and columns, for all forms that gate by them.

*Strips* are the means of the rows and the columns of a channel, one after the other: ``(N, C, H + W)``, and what has
that shape: the gates, and gradients of both. A tile of a map is ``(BC, BR, BW)``, channels by rows by all columns.
"""

from __future__ import annotations

import functools

import triton
import triton.language as tl

_TILE = 4096


@functools.lru_cache(1000)
def tile(channels: int, height: int, width: int) -> dict[str, int]:
    """Return the sizes of a tile for slabs of some channels, and a power of two that divides the width."""
    bw = triton.next_power_of_2(width)
    bc = min(triton.next_power_of_2(channels), max(_TILE // bw, 1))
    br = min(triton.next_power_of_2(height), max(_TILE // (bw * bc), 1))
    return {"UNIT": min(width & -width, 16), "BC": bc, "BR": br, "BW": bw}


@triton.jit
def places(c, h, w, channels, height, width, channel_stride, position_stride):
    """Return the offsets of a tile ``(BC, BR, BW)``, and which are inside."""
    at = c[:, None, None] * channel_stride + (h[None, :, None] * width + w[None, None, :]) * position_stride
    inside = (c < channels)[:, None, None] & (h < height)[None, :, None] & (w < width)[None, None, :]
    return at, inside


@triton.jit
def load_strip(strips, c, at, channels, end, length):
    """Return the values ``(BC, BL)`` of strips at some positions, 0 outside."""
    inside = (c < channels)[:, None] & (at < end)[None, :]
    return tl.load(strips + c[:, None] * length + at[None, :], mask=inside, other=0.0)


@triton.jit
def store_strip(strips, c, at, channels, end, length, values):
    """Write values ``(BC, BL)`` of strips at some positions."""
    inside = (c < channels)[:, None] & (at < end)[None, :]
    tl.store(strips + c[:, None] * length + at[None, :], values, mask=inside)


@triton.jit
def pool(
    x, gy, gates, strips, channels, height, width, xc, xp, gc, gp,
    BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    """Write the means of rows and columns of a slab; with ``gy`` the gradients of the gates instead.

    Those are the sums over rows, or columns, of ``gy * x *`` the other gate.
    """
    w = tl.arange(0, BW)
    length = height + width
    for first in range(0, channels, BC):
        c = first + tl.arange(0, BC)
        total = tl.zeros([BC, BR, BW], tl.float32)
        if gy is not None:
            of_column = load_strip(gates, c, height + w, channels, length, length)
        for start in range(0, height, BR):
            h = start + tl.arange(0, BR)
            at, inside = places(c, h, w, channels, height, width, xc, xp)
            values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
            if gy is None:
                total += values
                of_row = tl.sum(values, 2) / width
            else:
                at, inside = places(c, h, w, channels, height, width, gc, gp)
                values *= tl.load(gy + at, mask=inside, other=0.0).to(tl.float32)
                total += values * load_strip(gates, c, h, channels, height, length)[:, :, None]
                of_row = tl.sum(values * of_column[:, None, :], 2)
            store_strip(strips, c, h, channels, height, length, of_row)
        sums = tl.sum(total, 1)
        store_strip(strips, c, height + w, channels, length, length, sums / height if gy is None else sums)


@triton.jit
def multiply(
    x, gates, of_means, y, channels, height, width, xc, xp, yc, yp,
    BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    """Write a slab times the gates of its rows and columns; the gradient, if that of the means is given."""
    w = tl.arange(0, BW)
    length = height + width
    for first in range(0, channels, BC):
        c = first + tl.arange(0, BC)
        of_column = load_strip(gates, c, height + w, channels, length, length)
        if of_means is not None:
            shift_of_column = load_strip(of_means, c, height + w, channels, length, length) / height
        for start in range(0, height, BR):
            h = start + tl.arange(0, BR)
            of_row = load_strip(gates, c, h, channels, height, length)
            at, inside = places(c, h, w, channels, height, width, xc, xp)
            values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
            values = values * of_row[:, :, None] * of_column[:, None, :]
            if of_means is not None:
                shift_of_row = load_strip(of_means, c, h, channels, height, length) / width
                values += shift_of_row[:, :, None] + shift_of_column[:, None, :]
            at, inside = places(c, h, w, channels, height, width, yc, yp)
            tl.store(y + at, values.to(y.dtype.element_ty), mask=inside)
