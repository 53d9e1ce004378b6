"""SGE in one kernel each way; a slab is a group of channels of an image.

With the mean ``m`` over positions, ``t_p = m . x_p`` and ``d_p = t_p - mean(t)``, where ``mean(t) = m . m``:
``y_p = x_p * gate(weight * d_p * r + bias)``, ``r = 1 / (std(t) + eps)``.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Call, Form, Gradients
from yolo_attn.blocks.fused.slab import load, moments, read, store

_EPS = tl.constexpr(1e-5)
_WIDEST = 512


def _refuses(block: Any, x: Tensor) -> str | None:
    width = block.channels // block.groups
    return f"its groups have {width} channels, more than {_WIDEST}" if width > _WIDEST else None


def _launch(kernel: Any, call: Call, *more: Any) -> None:
    groups, scale = int(call.settings[0]), call.settings[1]
    width, positions = call.channels // groups, call.positions
    bc, bp = slab.tile(width, positions)
    args = (*call.maps, *call.parameters, *call.saved, *more, positions, groups, width, *call.strides, scale)
    slab.launch(kernel, (call.images * groups,), *args, BC=bc, BP=bp)


def _backward(call: Call) -> Gradients:
    parts = call.new(2, call.images, int(call.settings[0]))
    _launch(_backward_kernel, call, parts, parts[0].numel())
    return parts.sum(1).unbind() if call.needs else ()


@triton.jit
def _slab(x, xn, xc, groups, width):
    """Return where the slab of a program begins."""
    program = tl.program_id(0).to(tl.int64)
    return x + program // groups * xn + program % groups * width * xc


@triton.jit
def _similarity(x, m, p, positions):
    """Return ``d_p`` of a tile ``(BC, BP)``, with the means ``(BC,)``; 0 outside."""
    return tl.where(p < positions, tl.sum(x * m[:, None], 0) - tl.sum(m * m), 0.0)


@triton.jit
def _affine(weight, bias, groups, deviation, positions):
    """Return ``weight * r``, ``r``, and bias; for one position 0, where ``d`` is 0 and its rounding would count."""
    g, r = tl.program_id(0) % groups, tl.where(positions > 1, 1 / (deviation + _EPS), 0.0)
    return tl.load(weight + g).to(tl.float32) * r, r, tl.load(bias + g).to(tl.float32)


@triton.jit
def _forward_kernel(
    x, y, weight, bias, mean, std, positions, groups, width,
    xn, xc, xp, yn, yc, yp, scale, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    x, y, c = _slab(x, xn, xc, groups, width), _slab(y, yn, yc, groups, width), tl.arange(0, BC)
    m = moments(x, c, c < width, positions, xc, xp, BC, BP)[0]
    squares = tl.zeros([BP], tl.float32)
    for start in range(0, positions, BP):
        values, p, inside = read(x, c, start, width, positions, xc, xp, BP)
        d = _similarity(values, m, p, positions)
        squares += d * d
    deviation = tl.sqrt(tl.sum(squares) / tl.maximum(positions - 1, 1))
    w, _, b = _affine(weight, bias, groups, deviation, positions)
    for start in range(0, positions, BP):
        values, p, inside = read(x, c, start, width, positions, xc, xp, BP)
        gate = scale * tl.sigmoid(w * _similarity(values, m, p, positions) + b)
        store(y, c, p, yc, yp, inside, values * gate[None, :])
    program = tl.program_id(0).to(tl.int64)
    tl.store(mean + program * width + c, m, mask=c < width)
    tl.store(std + program, deviation)


@triton.jit
def _backward_kernel(
    x, gy, gx, weight, bias, mean, std, parts, slabs, positions, groups, width,
    xn, xc, xp, gn, gc, gp, on, oc, op, scale, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    x, gy, gx = _slab(x, xn, xc, groups, width), _slab(gy, gn, gc, groups, width), _slab(gx, on, oc, groups, width)
    program, c = tl.program_id(0).to(tl.int64), tl.arange(0, BC)
    m, deviation = tl.load(mean + program * width + c, mask=c < width, other=0.0), tl.load(std + program)
    w, r, b = _affine(weight, bias, groups, deviation, positions)
    # With the gradient l of the logits, the gradient of d is w l - k d, k = sum(w l d) r / ((P - 1) std), and that of
    # t is this minus its mean over positions. A first pass takes all sums over positions, the second writes.
    sum_l, sum_ld = tl.zeros([BP], tl.float32), tl.zeros([BP], tl.float32)
    sum_lx, sum_dx = tl.zeros([BC], tl.float32), tl.zeros([BC], tl.float32)
    k, shift, of_mean = 0.0, 0.0, tl.zeros([BC], tl.float32)
    for write in tl.static_range(2):
        for start in range(0, positions, BP):
            values, p, inside = read(x, c, start, width, positions, xc, xp, BP)
            of_y = load(gy, c, p, gc, gp, inside)
            d = _similarity(values, m, p, positions)
            s = tl.sigmoid(w * d + b)
            of_logit = tl.sum(of_y * values, 0) * scale * s * (1 - s)
            if write:
                of_t = w * of_logit - k * d - shift
                of_x = of_y * (scale * s)[None, :] + m[:, None] * of_t[None, :] + of_mean[:, None]
                store(gx, c, p, oc, op, inside, of_x)
            else:
                sum_l += of_logit
                sum_ld += of_logit * d
                sum_lx += tl.sum(values * of_logit[None, :], 1)
                sum_dx += tl.sum(values * d[None, :], 1)
        if not write:
            total_l, total_ld = tl.sum(sum_l), tl.sum(sum_ld)
            k = w * total_ld * r / tl.maximum(tl.maximum(positions - 1, 1) * deviation, 1e-30)
            shift = w * total_l / positions
            of_mean = (w * sum_lx - k * sum_dx) / positions - shift * m
            tl.store(parts + program, total_ld * r)
            tl.store(parts + slabs + program, total_l)


SGE = Form(
    lambda call: _launch(_forward_kernel, call),
    _backward,
    saved=lambda x, parameters, settings: [(x.shape[0], x.shape[1]), (x.shape[0], int(settings[0]))],  # m, std(t)
    settings=lambda block: [block.groups, block.scale],
    refuses=_refuses,
)
