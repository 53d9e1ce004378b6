"""sSE in one kernel each way; a program owns a few positions of an image, with all channels.

``z_p = w . x_p + bias``, ``y_p = x_p G_p``, ``G_p = scale * sigmoid(z_p)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Form, Layout, Numbers, small
from yolo_attn.blocks.fused.slab import load, store


class FusedSSE(Form):
    """SSE by kernels."""

    @staticmethod
    def parameters(block: Any) -> list[Tensor]:
        """Return weight and bias."""
        conv = block.conv
        return [conv.weight] if conv.bias is None else [conv.weight, conv.bias]

    @staticmethod
    def settings(block: Any) -> list[float]:
        """Return the scale."""
        return [block.scale]

    @staticmethod
    def outputs(x: Tensor, parameters: Sequence[Tensor], settings: Numbers) -> list[Tensor]:
        """Return ``y``; the gradient needs no more."""
        return [torch.empty_like(x)]

    @staticmethod
    def forward(x: Tensor, parameters: Sequence[Tensor], settings: Numbers, out: Sequence[Tensor]) -> None:
        """Fill ``out``."""
        at, to = Layout.of(x), Layout.of(out[0])
        blocks, constants = slab.position_blocks(at)
        given = (*slab.optional(parameters, 2), at.channels, at.positions, *at.strides, *to.strides, settings[0])
        slab.launch(_forward, (at.images * blocks,), x, *out, *given, **constants)

    @staticmethod
    def backward(
        gy: Tensor, x: Tensor, saved: Sequence[Tensor], parameters: Sequence[Tensor], settings: Numbers, needs: bool
    ) -> list[Tensor]:
        """Return the gradients of ``x``, weight and bias."""
        gx = torch.empty_like(x)
        at, of_gy, to = Layout.of(x), Layout.of(gy), Layout.of(gx)
        blocks, constants = slab.position_blocks(at)
        parts = small(x, at.images * blocks, at.channels + 1) if needs else None
        strides = (*at.strides, *of_gy.strides, *to.strides)
        given = (*slab.optional(parameters, 2), at.channels, at.positions, *strides, settings[0])
        slab.launch(_backward, (at.images * blocks,), x, gy, gx, parts, *given, **constants)
        return [gx] if parts is None else [gx, *parts.sum(0).split(at.channels)]


@triton.jit
def _positions(positions, BP: tl.constexpr):
    """Return the image and the positions ``(BP,)`` of a program."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(positions, BP)
    return program // blocks, (program % blocks).to(tl.int32) * BP + tl.arange(0, BP)


@triton.jit
def _forward(
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
def _backward(
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
