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
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers
from yolo_attn.blocks.fused.slab import load, store

_EPS = tl.constexpr(1e-5)
_WIDEST = 512


def _refuses(block: Any, x: Tensor) -> str | None:
    width = block.channels // block.groups
    return f"its groups have {width} channels, more than {_WIDEST}" if width > _WIDEST else None


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes of the means and of ``std(t)``."""
    return [(x.shape[0], x.shape[1]), (x.shape[0], int(settings[0]))]


def _launch(kernel: Any, call: Call, *more: Any) -> None:
    groups, scale = call.settings
    width = call.channels // int(groups)
    bc, bp = slab.tile(width, call.positions)
    args = (*call.maps, *call.parameters, *call.saved, *more, call.positions, int(groups), width, *call.strides, scale)
    slab.launch(kernel, (call.images * int(groups),), *args, BC=bc, BP=bp)


def _forward(call: Call) -> None:
    _launch(_forward_kernel, call)


def _backward(call: Call) -> Gradients:
    of_parameters = call.new(2, call.images * int(call.settings[0]))
    _launch(_backward_kernel, call, of_parameters, of_parameters.shape[1])
    return of_parameters.view(2, call.images, -1).sum(1).unbind() if call.needs else ()


@triton.jit
def _similarity(x, m):
    """Return ``d_p`` of a tile ``(BC, BP)``, with the means ``(BC,)``."""
    return tl.sum(x * m[:, None], 0) - tl.sum(m * m)


@triton.jit
def _factor(weight, r, positions):
    """Return ``weight * r``; 0 for a single position, where ``d`` is 0 and its rounding would count."""
    return tl.where(positions > 1, tl.load(weight).to(tl.float32) * r, 0.0)


@triton.jit
def _forward_kernel(
    x, y, weight, bias, mean, std, positions, groups, width,
    xn, xc, xp, yn, yc, yp, scale, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, g = program // groups, program % groups
    c = tl.arange(0, BC)
    x += n * xn + g * width * xc
    y += n * yn + g * width * yc
    m = tl.zeros([BC], tl.float32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < width) & (p[None, :] < positions)
        m += tl.sum(load(x, c, p, xc, xp, inside), 1)
    m /= positions
    squares = tl.zeros([BP], tl.float32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < width) & (p[None, :] < positions)
        d = _similarity(load(x, c, p, xc, xp, inside), m)
        squares += tl.where(p < positions, d * d, 0.0)
    deviation = tl.sqrt(tl.sum(squares) / tl.maximum(positions - 1, 1))
    w = _factor(weight + g, 1 / (deviation + _EPS), positions)
    b = tl.load(bias + g).to(tl.float32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < width) & (p[None, :] < positions)
        values = load(x, c, p, xc, xp, inside)
        gate = scale * tl.sigmoid(w * _similarity(values, m) + b)
        store(y, c, p, yc, yp, inside, values * gate[None, :])
    tl.store(mean + program * width + c, m, mask=c < width)
    tl.store(std + program, deviation)


@triton.jit
def _backward_kernel(
    x, gy, gx, weight, bias, mean, std, of_parameters, slabs, positions, groups, width,
    xn, xc, xp, gn, gc, gp, on, oc, op, scale, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, g = program // groups, program % groups
    c = tl.arange(0, BC)
    x += n * xn + g * width * xc
    gy += n * gn + g * width * gc
    gx += n * on + g * width * oc
    m = tl.load(mean + program * width + c, mask=c < width, other=0.0)
    deviation = tl.load(std + program)
    r = 1 / (deviation + _EPS)
    w = _factor(weight + g, r, positions)
    b = tl.load(bias + g).to(tl.float32)
    # With the gradient l of the logits, the gradient of d is w l - k d, k = sum(w l d) r / ((P - 1) std), and that of
    # t is this minus its mean over positions. All sums over positions are taken in one pass.
    sum_l = tl.zeros([BP], tl.float32)
    sum_ld = tl.zeros([BP], tl.float32)
    of_l = tl.zeros([BC], tl.float32)  # sum_p l_p x_p
    of_d = tl.zeros([BC], tl.float32)  # sum_p d_p x_p
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < width) & (p[None, :] < positions)
        values = load(x, c, p, xc, xp, inside)
        d = tl.where(p < positions, _similarity(values, m), 0.0)
        s = tl.sigmoid(w * d + b)
        of_logit = tl.sum(load(gy, c, p, gc, gp, inside) * values, 0) * scale * s * (1 - s)
        sum_l += of_logit
        sum_ld += of_logit * d
        of_l += tl.sum(values * of_logit[None, :], 1)
        of_d += tl.sum(values * d[None, :], 1)
    total_l, total_ld = tl.sum(sum_l), tl.sum(sum_ld)
    k = w * total_ld * r / tl.maximum(tl.maximum(positions - 1, 1) * deviation, 1e-30)
    shift = w * total_l / positions
    of_mean = (w * of_l - k * of_d) / positions - shift * m
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < width) & (p[None, :] < positions)
        values = load(x, c, p, xc, xp, inside)
        of_y = load(gy, c, p, gc, gp, inside)
        d = _similarity(values, m)
        s = tl.sigmoid(w * d + b)
        of_logit = tl.sum(of_y * values, 0) * scale * s * (1 - s)
        of_t = w * of_logit - k * d - shift
        store(gx, c, p, oc, op, inside, of_y * (scale * s)[None, :] + m[:, None] * of_t[None, :] + of_mean[:, None])
    tl.store(of_parameters + program, tl.where(positions > 1, total_ld * r, 0.0))
    tl.store(of_parameters + slabs + program, total_l)


SGE = Form(_forward, _backward, _saved, settings=lambda block: [block.groups, block.scale], refuses=_refuses)
