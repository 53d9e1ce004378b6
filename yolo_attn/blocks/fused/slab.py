"""What the kernels share: tiles of channels by positions, sigmoid gates, launching.

A *slab* is the part of a map that one program owns: an image and a group of its channels. A kernel reads its slab in
tiles ``(BC, BP)`` of channels by positions, once for each statistic and once more to write; after the first time it
comes from the cache. All arithmetic is in float32.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

_TILE = 4096  # values of a tile: 16 for each of 256 threads


def tile(channels: int, positions: int) -> tuple[int, int]:
    """Return the sizes of a tile for slabs of some channels, all of them at once: powers of two."""
    rows = triton.next_power_of_2(channels)
    return rows, min(triton.next_power_of_2(positions), max(_TILE // rows, 16))


def launch(kernel: Any, programs: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Start a kernel."""
    kernel[programs](*args, num_warps=8, **constants)


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
