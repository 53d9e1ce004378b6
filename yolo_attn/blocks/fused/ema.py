"""EMA in one kernel each way; a slab is a group of ``d`` channels of an image.

With ``a = sigmoid(W1 strips + b1)``, ``t_p = x_p a_row a_column``, ``x1 = GN(t)``, ``x2 = conv3x3(x)``, the logits are
``z = softmax(mean(x1)) . x2 + softmax(mean(x2)) . x1``. The mean of ``x1`` is the bias of the GroupNorm, so
``alpha = softmax(bias)``, and ``alpha . x2`` is a convolution to one channel, ``tap_k = sum_c alpha_c W3_ck`` (d). The
mean of ``x2`` follows from the sums of ``x`` without a border row or column, and so ``beta`` from the strips:
``z_p = sum_k tap_k . x_(p + k) + alpha . b3 + beta . (weight r (t_p - mu) + bias)``, ``y = x * gate(z)``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from yolo_attn.blocks.fused import slab, strip
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers
from yolo_attn.blocks.fused.slab import load, store
from yolo_attn.blocks.fused.strip import load_strip, places, pool, store_strip

_WIDEST = 16
_MOST_VALUES = 8192
_TILE = 1024


def _refuses(block: Any, x: Tensor) -> str | None:
    """Refuse wide groups, as each program holds the weights of the 3x3 convolution, and strips that fit no tile."""
    width = block.channels // block.groups
    if width > _WIDEST:
        return f"its groups have {width} channels, more than {_WIDEST}"
    values = triton.next_power_of_2(width) * triton.next_power_of_2(x.shape[2] + x.shape[3])
    return f"the strips of a group take {values} values, more than {_MOST_VALUES}" if values > _MOST_VALUES else None


def _parameters(block: Any) -> list[Tensor | None]:
    """Return weight and bias of the 1x1 convolution, the norm, and the 3x3 convolution."""
    return [p for layer in (block.conv1x1, block.norm, block.conv3x3) for p in (layer.weight, layer.bias)]


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes of strips of means and ``a``; of ``mu``, ``r`` and ``beta``; of taps; and of logits."""
    n, c, height, width = x.shape
    return [(2, n, c, height + width), (3, n, c), (n, c, 16), (n, int(settings[0]), height * width)]


def _launch(call: Call) -> tuple[tuple[int], tuple[int, ...], dict[str, int]]:
    """Return the number of programs, the sizes and the constants of both kernels."""
    n, channels, height, width = call.x.shape
    groups = int(call.settings[0])
    tile = strip.tile(channels // groups, height, width)
    bd = triton.next_power_of_2(channels // groups)
    bp = min(triton.next_power_of_2(height * width), _TILE // bd)
    constants = {"D": channels // groups, "BD": bd, "BP": bp, "BL": triton.next_power_of_2(height + width), **tile}
    return (n * groups,), (n * channels, groups, height, width // tile["UNIT"]), constants


def _forward(call: Call) -> None:
    programs, sizes, constants = _launch(call)
    args = (*call.maps, *call.parameters, *call.saved, *sizes, *call.strides, *call.settings[1:])
    slab.launch(_forward_kernel, programs, *args, **constants)


def _backward(call: Call) -> Gradients:
    programs, sizes, constants = _launch(call)
    of_each = [p.numel() for p in call.parameters]
    parts = call.new(*programs, sum(of_each)) if call.needs else None
    scratch = (*map(torch.empty_like, call.saved), parts)
    args = (*call.maps, *call.parameters, *call.saved, *scratch, *sizes, *call.strides, *call.settings[1:])
    slab.launch(_backward_kernel, programs, *args, **constants)
    return () if parts is None else parts.sum(0).split(of_each)


@triton.jit
def _softmax(values, inside):
    values = tl.where(inside, values, float("-inf"))
    values = tl.exp(values - tl.max(values, 0))
    return values / tl.sum(values, 0)


@triton.jit
def _vector(start, c, D: tl.constexpr):
    return tl.load(start + c, mask=c < D, other=0.0).to(tl.float32)


@triton.jit
def _cube(w3, D: tl.constexpr, BD: tl.constexpr):
    """Return places and mask ``(BD, BD, 16)`` of the weights of the 3x3 convolution: to, from, tap."""
    c, k = tl.arange(0, BD), tl.arange(0, 16)
    inside = (c < D)[:, None, None] & (c < D)[None, :, None] & (k < 9)[None, None, :]
    return w3 + (c[:, None, None] * D + c[None, :, None]) * 9 + k[None, None, :], inside


@triton.jit
def _neighbours(p, k, height, width):
    """Return the positions that tap ``k`` reads, and which of them there are; tap ``8 - k`` is its transpose."""
    h, w = p // width + k // 3 - 1, p % width + k % 3 - 1
    inside = (h >= 0) & (h < height) & (w >= 0) & (w < width) & (p < height * width)
    return h * width + w, inside


@triton.jit
def _gates(a, c, p, height, width, D: tl.constexpr):
    """Return ``a_row a_column`` of a tile."""
    length, inside = height + width, (c[:, None] < D) & (p[None, :] < height * width)
    rows = tl.load(a + c[:, None] * length + (p // width)[None, :], mask=inside, other=0.0)
    return rows * tl.load(a + c[:, None] * length + height + (p % width)[None, :], mask=inside, other=0.0)


@triton.jit
def _windows(x, means, height, width, xc, xp, D: tl.constexpr, BD: tl.constexpr, BL: tl.constexpr):
    """Return ``(BD, 16)``: the sums over what each tap reads, the map without a row, a column, or both."""
    c, k, line = tl.arange(0, BD), tl.arange(0, 16), tl.arange(0, BL)
    length = height + width
    total = tl.sum(load_strip(means, c, line, D, height, length), 1) * width
    dy, dx = k // 3 - 1, k % 3 - 1
    row, column = tl.where(dy > 0, 0, height - 1), tl.where(dx > 0, 0, width - 1)
    inside = (c < D)[:, None] & (k < 9)[None, :]
    of_row = tl.load(means + c[:, None] * length + row[None, :], mask=inside & (dy != 0)[None, :], other=0.0)
    at = c[:, None] * length + (height + column)[None, :]
    of_column = tl.load(means + at, mask=inside & (dx != 0)[None, :], other=0.0)
    corner = load(x, c, row * width + column, xc, xp, inside & (dy * dx != 0)[None, :])
    return tl.where(inside, total[:, None] - of_row * width - of_column * height + corner, 0.0)


@triton.jit
def _forward_kernel(
    x, y, w1, b1, weight, bias, w3, b3, strips, rows, taps, logits, size, groups, height, units,
    xn, xc, xp, yn, yc, yp, eps, scale, D: tl.constexpr, BD: tl.constexpr, BP: tl.constexpr, BL: tl.constexpr,
    UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, g = program // groups, program % groups
    width = units * UNIT
    length, positions = height + width, height * width
    x += n * xn + g * D * xc
    y += n * yn + g * D * yc
    means = strips + program * D * length
    a = means + size * length
    rows += program * D
    taps += program * D * 16
    c, line = tl.arange(0, BD), tl.arange(0, BL)
    pool(x, None, None, means, D, height, width, xc, xp, 0, 0, BC, BR, BW)
    tl.debug_barrier()
    of_a = tl.zeros([BD, BL], tl.float32) + _vector(b1, c, D)[:, None]
    for i in range(D):
        w = tl.load(w1 + c * D + i, mask=c < D, other=0.0).to(tl.float32)
        of_a += w[:, None] * _vector(means + i * length, line, length)[None, :]
    store_strip(a, c, line, D, length, length, tl.sigmoid(of_a))
    tl.debug_barrier()
    mu = tl.zeros([BD], tl.float32)
    squares = tl.zeros([BD], tl.float32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < D) & (p[None, :] < positions)
        t = load(x, c, p, xc, xp, inside) * _gates(a, c, p, height, width, D)
        count = tl.minimum(positions - start, BP)
        of_tile = tl.sum(t, 1) / count
        d = tl.where(inside, t - of_tile[:, None], 0.0)
        step, share = of_tile - mu, count / (start + count)
        squares += tl.sum(d * d, 1) + step * step * (start * share)
        mu += step * share
    r = tl.where(positions > 1, 1 / tl.sqrt(squares / positions + eps), 0.0)
    alpha = _softmax(_vector(bias, c, D), c < D)
    cube, of_cube = _cube(w3, D, BD)
    kernel = tl.load(cube, mask=of_cube, other=0.0).to(tl.float32)
    sums = kernel * _windows(x, means, height, width, xc, xp, D, BD, BL)[None, :, :]
    beta = _softmax(_vector(b3, c, D) + tl.sum(tl.sum(sums, 2), 1) / positions, c < D)
    tl.store(rows + c, mu, mask=c < D)
    tl.store(rows + size + c, r, mask=c < D)
    tl.store(rows + 2 * size + c, beta, mask=c < D)
    tap = tl.sum(kernel * alpha[:, None, None], 0)
    tl.store(taps + c[:, None] * 16 + tl.arange(0, 16)[None, :], tap, mask=(c < D)[:, None])
    shift = tl.sum(alpha * _vector(b3, c, D) + beta * _vector(bias, c, D), 0)
    e = beta * _vector(weight, c, D) * r
    tl.debug_barrier()
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < D) & (p[None, :] < positions)
        values = load(x, c, p, xc, xp, inside)
        z = tl.sum(e[:, None] * (values * _gates(a, c, p, height, width, D) - mu[:, None]), 0) + shift
        for k in range(9):
            at, there = _neighbours(p, k, height, width)
            of_tap = tl.load(taps + c * 16 + k, mask=c < D, other=0.0)
            z += tl.sum(of_tap[:, None] * load(x, c, at, xc, xp, (c < D)[:, None] & there[None, :]), 0)
        tl.store(logits + program * positions + p, z, mask=p < positions)
        store(y, c, p, yc, yp, inside, values * (scale * tl.sigmoid(z))[None, :])


@triton.jit
def _of_strips(
    x, a, rows, of_rows, of_z, of_strips, size, height, width, xc, xp,
    D: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    """Write the gradients of ``W1 strips + b1``."""
    w = tl.arange(0, BW)
    length = height + width
    for first in range(0, D, BC):
        c = first + tl.arange(0, BC)
        mu, r = _vector(rows, c, D)[:, None, None], _vector(rows + size, c, D)[:, None, None]
        slope, shift = _vector(of_rows, c, D)[:, None, None], _vector(of_rows + size, c, D)[:, None, None]
        of_std = _vector(of_rows + 2 * size, c, D)[:, None, None]
        column = load_strip(a, c, height + w, D, length, length)
        total = tl.zeros([BC, BR, BW], tl.float32)
        for start in range(0, height, BR):
            h = start + tl.arange(0, BR)
            at, inside = places(c, h, w, D, height, width, xc, xp)
            values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
            row = load_strip(a, c, h, D, height, length)
            at = h[:, None] * width + w[None, :]
            of_logit = tl.load(of_z + at, mask=(h < height)[:, None] & (w < width)[None, :], other=0.0)[None, :, :]
            normal = (values * row[:, :, None] * column[:, None, :] - mu) * r
            of_gates = (slope * of_logit - shift - normal * of_std) * values
            store_strip(of_strips, c, h, D, height, length, tl.sum(of_gates * column[:, None, :], 2) * row * (1 - row))
            total += of_gates * row[:, :, None]
        store_strip(of_strips, c, height + w, D, length, length, tl.sum(total, 1) * column * (1 - column))


@triton.jit
def _backward_kernel(
    x, gy, gx, w1, b1, weight, bias, w3, b3, strips, rows, taps, logits, of_strips, of_rows, of_taps, of_z, parts,
    size, groups, height, units, xn, xc, xp, gn, gc, gp, on, oc, op, eps, scale,
    D: tl.constexpr, BD: tl.constexpr, BP: tl.constexpr, BL: tl.constexpr,
    UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, g = program // groups, program % groups
    width = units * UNIT
    length, positions = height + width, height * width
    x += n * xn + g * D * xc
    gy += n * gn + g * D * gc
    gx += n * on + g * D * oc
    means = strips + program * D * length
    a = means + size * length
    of_means = of_strips + program * D * length
    of_a = of_means + size * length
    rows += program * D
    of_rows += program * D
    taps += program * D * 16
    of_taps += program * D * 16
    logits += program * positions
    of_z += program * positions
    c, line, taps_k = tl.arange(0, BD), tl.arange(0, BL), tl.arange(0, 16)
    mu, r, beta = _vector(rows, c, D), _vector(rows + size, c, D), _vector(rows + 2 * size, c, D)
    sums = tl.zeros([BP], tl.float32)
    of_normal = tl.zeros([BD], tl.float32)  # sum_p of_z_p * (t_p - mu) r
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < D) & (p[None, :] < positions)
        values = load(x, c, p, xc, xp, inside)
        s = tl.sigmoid(tl.load(logits + p, mask=p < positions, other=0.0))
        of_logit = tl.sum(load(gy, c, p, gc, gp, inside) * values, 0) * scale * s * (1 - s)
        tl.store(of_z + p, of_logit, mask=p < positions)
        sums += of_logit
        normal = (values * _gates(a, c, p, height, width, D) - mu[:, None]) * r[:, None]
        of_normal += tl.sum(of_logit[None, :] * normal, 1)
    total = tl.sum(sums, 0)
    of_beta = _vector(weight, c, D) * of_normal + _vector(bias, c, D) * total
    of_mean = beta * (of_beta - tl.sum(beta * of_beta, 0))  # of x2
    cube, of_cube = _cube(w3, D, BD)
    kernel = tl.load(cube, mask=of_cube, other=0.0).to(tl.float32)
    of_tap = tl.sum(kernel * of_mean[:, None, None], 0) / positions
    tl.store(of_taps + c[:, None] * 16 + taps_k[None, :], of_tap, mask=(c < D)[:, None])
    slope = r * beta * _vector(weight, c, D)  # the gradient of t is slope of_z - shift - normal of_std
    shift, of_std = slope * total / positions, slope * of_normal / positions
    tl.store(of_rows + c, slope, mask=c < D)
    tl.store(of_rows + size + c, shift, mask=c < D)
    tl.store(of_rows + 2 * size + c, of_std, mask=c < D)
    tl.debug_barrier()
    _of_strips(x, a, rows, of_rows, of_z, of_a, size, height, width, xc, xp, D, BC, BR, BW)
    tl.debug_barrier()
    of_strip = load_strip(of_a, c, line, D, length, length)
    of_w1 = tl.zeros([BD, BD], tl.float32)
    result = tl.zeros([BD, BL], tl.float32)
    for i in range(D):
        result += _vector(w1 + i * D, c, D)[:, None] * _vector(of_a + i * length, line, length)[None, :]
        of_weight = tl.sum(of_strip * _vector(means + i * length, line, length)[None, :], 1)
        of_w1 += tl.where(c[None, :] == i, of_weight[:, None], 0.0)
    store_strip(of_means, c, line, D, length, length, result / tl.where(line < height, width, height)[None, :])
    tl.debug_barrier()
    products = tl.zeros([BD, 16], tl.float32)  # sum_p of_z_p x_(p + k)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < D) & (p[None, :] < positions)
        values, gates = load(x, c, p, xc, xp, inside), _gates(a, c, p, height, width, D)
        s = scale * tl.sigmoid(tl.load(logits + p, mask=p < positions, other=0.0))
        of_logit = tl.load(of_z + p, mask=p < positions, other=0.0)
        normal = (values * gates - mu[:, None]) * r[:, None]
        of_t = slope[:, None] * of_logit[None, :] - shift[:, None] - normal * of_std[:, None]
        of_x = load(gy, c, p, gc, gp, inside) * s[None, :] + of_t * gates
        of_x += tl.load(of_means + c[:, None] * length + (p // width)[None, :], mask=inside, other=0.0)
        of_x += tl.load(of_means + c[:, None] * length + height + (p % width)[None, :], mask=inside, other=0.0)
        for k in range(9):
            at, there = _neighbours(p, 8 - k, height, width)
            of_logit = tl.load(of_z + at, mask=there, other=0.0)
            of_x += tl.load(taps + c * 16 + k, mask=c < D, other=0.0)[:, None] * of_logit[None, :]
            of_x += tl.where(there[None, :], tl.load(of_taps + c * 16 + k, mask=c < D, other=0.0)[:, None], 0.0)
            if parts is not None:
                product = tl.sum(values * of_logit[None, :], 1)
                products += tl.where(taps_k[None, :] == k, product[:, None], 0.0)
        store(gx, c, p, oc, op, inside, of_x)
    if parts is not None:
        parts += program * (10 * D * D + 4 * D)
        both = (c < D)[:, None] & (c < D)[None, :]
        tl.store(parts + c[:, None] * D + c[None, :], of_w1, mask=both)
        parts += D * D
        tl.store(parts + c, tl.sum(of_strip, 1), mask=c < D)
        tl.store(parts + D + c, beta * of_normal, mask=c < D)
        alpha = _softmax(_vector(bias, c, D), c < D)
        cube, of_cube = _cube(w3, D, BD)  # once more: not kept in registers meanwhile
        kernel = tl.load(cube, mask=of_cube, other=0.0).to(tl.float32)
        of_alpha = tl.sum(tl.sum(kernel * products[None, :, :], 2), 1) + _vector(b3, c, D) * total
        of_alpha = alpha * (of_alpha - tl.sum(alpha * of_alpha, 0))
        tl.store(parts + 2 * D + c, beta * total + of_alpha, mask=c < D)
        windows = _windows(x, means, height, width, xc, xp, D, BD, BL)
        of_w3 = alpha[:, None, None] * products[None, :, :]
        of_w3 += of_mean[:, None, None] / positions * windows[None, :, :]
        tl.store(_cube(parts + 3 * D, D, BD)[0], of_w3, mask=of_cube)
        tl.store(parts + 3 * D + 9 * D * D + c, alpha * total + of_mean, mask=c < D)


EMA = Form(
    _forward,
    _backward,
    _saved,
    settings=lambda block: [block.groups, block.norm.eps, block.scale],
    parameters=_parameters,
    refuses=_refuses,
)
