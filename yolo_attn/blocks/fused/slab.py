"""Tiles of channels by positions, moments and launching, for all kernels.

A *slab* is the part of a map that one program owns: an image and a group of its channels. A kernel reads its slab in
tiles ``(BC, BP)`` of channels by positions, once for each statistic and once more to write; after the first time it
comes from the cache. All arithmetic is in float32.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import triton
import triton.language as tl

_TILE = 4096  # values of a tile: 16 for each of 256 threads


_recorder: list[str] | None = None


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """Note the names of kernels in place of launching them: tells what a form would launch, without a GPU."""
    global _recorder
    before, _recorder = _recorder, []
    try:
        yield _recorder
    finally:
        _recorder = before


@functools.lru_cache(1000)
def tile(channels: int, positions: int) -> tuple[int, int]:
    """Return the sizes of a tile for slabs of some channels, all of them at once: powers of two."""
    rows = triton.next_power_of_2(channels)
    return rows, min(triton.next_power_of_2(positions), max(_TILE // rows, 16))


@functools.lru_cache(1000)
def narrow_tile(channels: int, positions: int, channel_stride: int, size: int) -> tuple[int, int]:
    """Return the sizes of a tile for programs that own a few channels: where channels come last, those of 32 bytes.

    Args:
        channels: Channels of the map.
        positions: Height times width.
        channel_stride: Distance of channels in memory.
        size: Bytes of a value.
    """
    columns = triton.next_power_of_2(positions)
    rows = min(triton.next_power_of_2(channels), 32 // size if channel_stride == 1 else max(1024 // columns, 1))
    return rows, min(columns, (_TILE if rows == 1 else _TILE // 2) // rows)  # else few programs fit a processor


def launch(kernel: Any, programs: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Start a kernel; within :func:`recorded` only note it."""
    if _recorder is not None:
        _recorder.append(kernel.__name__)
        return
    kernel[programs](*args, num_warps=8, **constants)


@triton.jit
def vector(start, i, size):
    """Return values ``i`` of a vector, 0 beyond its size."""
    return tl.load(start + i, mask=i < size, other=0.0).to(tl.float32)


@triton.jit
def strided(start, i, j, rows, columns, of_row, of_column):
    """Return rows ``i`` and columns ``j`` of a matrix with these strides, 0 beyond its sizes."""
    inside = (i[:, None] < rows) & (j[None, :] < columns)
    return tl.load(start + i[:, None] * of_row + j[None, :] * of_column, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def matrix(start, i, j, rows, columns):
    """Return rows ``i`` and columns ``j`` of a matrix that lies row by row, 0 beyond its sizes."""
    return strided(start, i, j, rows, columns, columns, 1)


@triton.jit
def load(start, c, p, channel_stride, position_stride, inside):
    """Return the tile of channels ``c`` and positions ``p``, 0 outside."""
    at = start + c[:, None] * channel_stride + p[None, :] * position_stride
    return tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store(start, c, p, channel_stride, position_stride, inside, values):
    """Write the tile of channels ``c`` and positions ``p``."""
    at = start + c[:, None] * channel_stride + p[None, :] * position_stride
    tl.store(at, values.to(start.dtype.element_ty), mask=inside)


@triton.jit
def read(x, c, start, channels, positions, channel_stride, position_stride, BP: tl.constexpr):
    """Return the tile of channels ``c`` and ``BP`` positions from ``start``, these, and which values are inside."""
    p = start + tl.arange(0, BP)
    inside = (c[:, None] < channels) & (p[None, :] < positions)
    return load(x, c, p, channel_stride, position_stride, inside), p, inside


@triton.jit
def crossed(strips, c, p, inside, height, width):
    """Return the values of strips, ``(C, H + W)``, for the row and the column of each position of a tile."""
    at = strips + c[:, None] * (height + width)
    row = tl.load(at + (p // width)[None, :], mask=inside, other=0.0)
    return row, tl.load(at + (height + p % width)[None, :], mask=inside, other=0.0)


@triton.jit
def moments(
    x, c, inside, positions, channel_stride, position_stride, BC: tl.constexpr, BP: tl.constexpr,
    gates=None, height=1, width=1,
):  # fmt: skip
    """Return the mean over positions and the sum of squared deviations from it of channels ``c``, in one pass.

    Of the map times ``gates`` of its rows and columns, where given.
    """
    mean = tl.zeros([BC], tl.float32)
    squares = tl.zeros([BC], tl.float32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        here = inside[:, None] & (p[None, :] < positions)
        count = tl.minimum(positions - start, BP)
        values = load(x, c, p, channel_stride, position_stride, here)
        if gates is not None:
            row, column = crossed(gates, c, p, here, height, width)
            values *= row * column
        of_tile = tl.sum(values, 1) / count
        d = tl.where(here, values - of_tile[:, None], 0.0)
        step = of_tile - mean
        share = count / (start + count)
        squares += tl.sum(d * d, 1) + step * step * (start * share)
        mean += step * share
    return mean, squares
