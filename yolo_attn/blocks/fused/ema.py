"""EMA in one kernel each way; a slab is a group of ``d`` channels of an image.

With ``a = sigmoid(W1 strips + b1)``, ``t_p = x_p a_row a_column``, ``x1 = GN(t)``, ``x2 = conv3x3(x)``, the logits are
``z = softmax(mean(x1)) . x2 + softmax(mean(x2)) . x1``. The mean of ``x1`` is the bias of the GroupNorm, so
``alpha = softmax(bias)``, and ``alpha . x2`` is a convolution to one channel, ``tap_k = sum_c alpha_c W3_ck`` (d). The
mean of ``x2`` follows from the sums of ``x`` without a border row or column, and so ``beta`` from the strips:
``z_p = sum_k tap_k . x_(p + k) + alpha . b3 + beta . (weight r (t_p - mu) + bias)``, ``y = x * gate(z)``.

A program keeps ``z``, the strips of means and ``a``, the rows ``mu``, ``r`` and ``beta``, and 16 taps a channel.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from yolo_attn.blocks.fused import strip
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers
from yolo_attn.blocks.fused.slab import crossed, load, moments, read, store, vector
from yolo_attn.blocks.fused.strip import load_strip, pool, slab_of, store_strip

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


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the number of programs, and of what each keeps, in whole sectors of memory."""
    n, channels, height, width = x.shape
    groups = int(settings[0])
    values = height * width + channels // groups * (2 * (height + width) + 3 + 16)
    return [(n * groups, values + -values % 16)]


@functools.lru_cache(1000)
def _constants(d: int, height: int, width: int) -> dict[str, int]:
    bd, bl = triton.next_power_of_2(d), triton.next_power_of_2(height + width)
    bp = min(triton.next_power_of_2(height * width), _TILE // bd)
    return {"BD": bd, "BP": bp, "BL": bl} | strip.tile(d, height, width)


def _launch(kernel: Any, call: Call, *scratch: Tensor) -> None:
    (saved,), (groups, *numbers) = call.saved, call.settings
    constants = _constants(call.channels // int(groups), *call.x.shape[2:])
    args = (*call.maps, *call.strides, *call.parameters, saved, *scratch, saved.shape[1], *numbers)
    strip.launch(kernel, call, constants, *args)


def _backward(call: Call) -> Gradients:
    of_each = [p.numel() for p in call.parameters]
    parts = call.new(len(call.saved[0]), sum(of_each))
    _launch(_backward_kernel, call, torch.empty_like(call.saved[0]), parts)
    return parts.sum(0).split(of_each) if call.needs else ()


@triton.jit
def _kept(start, positions, length, CS: tl.constexpr):
    """Return the places of ``z``, means, ``a``, rows and taps, or of their gradients."""
    means = start + positions
    a = means + CS * length
    rows = a + CS * length
    return start, means, a, rows, rows + 3 * CS


@triton.jit
def _softmax(values, inside):
    values = tl.where(inside, values, float("-inf"))
    values = tl.exp(values - tl.max(values, 0))
    return values / tl.sum(values, 0)


@triton.jit
def _cube(w3, c, CS: tl.constexpr):
    """Return places, mask and values ``(BD, BD, 16)`` of the weights of the 3x3 convolution: to, from, tap."""
    k = tl.arange(0, 16)
    inside = (c < CS)[:, None, None] & (c < CS)[None, :, None] & (k < 9)[None, None, :]
    at = w3 + (c[:, None, None] * CS + c[None, :, None]) * 9 + k[None, None, :]
    return at, inside, tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _neighbours(p, k, height, width):
    """Return the positions that tap ``k`` reads, and which of them there are; tap ``8 - k`` is its transpose."""
    h, w = p // width + k // 3 - 1, p % width + k % 3 - 1
    inside = (h >= 0) & (h < height) & (w >= 0) & (w < width) & (p < height * width)
    return h * width + w, inside


@triton.jit
def _windows(x, means, c, height, width, xc, xp, CS: tl.constexpr, BL: tl.constexpr):
    """Return ``(BD, 16)``: the sums over what each tap reads, the map without a row, a column, or both."""
    length, k = height + width, tl.arange(0, 16)
    dy, dx = k // 3 - 1, k % 3 - 1
    row, column = tl.where(dy > 0, 0, height - 1), tl.where(dx > 0, 0, width - 1)
    inside = (c < CS)[:, None] & (k < 9)[None, :]
    total = tl.sum(load_strip(means, c, tl.arange(0, BL), CS, height, length), 1)[:, None] * width
    total -= load(means, c, row, length, 1, inside & (dy != 0)[None, :]) * width
    total -= load(means + height, c, column, length, 1, inside & (dx != 0)[None, :]) * height
    total += load(x, c, row * width + column, xc, xp, inside & (dy * dx != 0)[None, :])
    return tl.where(inside, total, 0.0)


@triton.jit
def _forward_kernel(
    channels, height, units, x, y, xn, xc, xp, yn, yc, yp, w1, b1, weight, bias, w3, b3, saved, size, eps, scale,
    BD: tl.constexpr, BP: tl.constexpr, BL: tl.constexpr,
    CS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program, n, first, width = slab_of(channels, units, CS, UNIT)
    x, y = x + n * xn + first * xc, y + n * yn + first * yc
    length, positions = height + width, height * width
    logits, means, a, rows, taps = _kept(saved + program * size, positions, length, CS)
    c, k, line = tl.arange(0, BD), tl.arange(0, 16), tl.arange(0, BL)
    pool(x, means, CS, height, width, xc, xp, BC, BR, BW)
    tl.debug_barrier()
    of_a = tl.zeros([BD, BL], tl.float32) + vector(b1, c, CS)[:, None]
    for i in range(CS):
        of_a += vector(w1 + i, c * CS, CS * CS)[:, None] * vector(means + i * length, line, length)[None, :]
    store_strip(a, c, line, CS, length, length, tl.sigmoid(of_a))
    tl.debug_barrier()
    mu, squares = moments(x, c, c < CS, positions, xc, xp, BD, BP, a, height, width)
    r = tl.where(positions > 1, 1 / tl.sqrt(squares / positions + eps), 0.0)
    alpha = _softmax(vector(bias, c, CS), c < CS)
    _, _, kernel = _cube(w3, c, CS)
    sums = tl.sum(tl.sum(kernel * _windows(x, means, c, height, width, xc, xp, CS, BL)[None, :, :], 2), 1)
    beta = _softmax(vector(b3, c, CS) + sums / positions, c < CS)
    tl.store(rows + c, mu, mask=c < CS)
    tl.store(rows + CS + c, r, mask=c < CS)
    tl.store(rows + 2 * CS + c, beta, mask=c < CS)
    tl.store(taps + c[:, None] * 16 + k[None, :], tl.sum(kernel * alpha[:, None, None], 0), mask=(c < CS)[:, None])
    shift = tl.sum(alpha * vector(b3, c, CS) + beta * vector(bias, c, CS), 0)
    slope = beta * vector(weight, c, CS) * r
    tl.debug_barrier()
    for start in range(0, positions, BP):
        values, p, inside = read(x, c, start, CS, positions, xc, xp, BP)
        row, column = crossed(a, c, p, inside, height, width)
        z = tl.sum(slope[:, None] * (values * row * column - mu[:, None]), 0) + shift
        for tap in range(9):
            at, there = _neighbours(p, tap, height, width)
            of_tap = vector(taps + tap, c * 16, CS * 16)[:, None]
            z += tl.sum(of_tap * load(x, c, at, xc, xp, (c < CS)[:, None] & there[None, :]), 0)
        tl.store(logits + p, z, mask=p < positions)
        store(y, c, p, yc, yp, inside, values * (scale * tl.sigmoid(z))[None, :])


@triton.jit
def _backward_kernel(
    channels, height, units, x, gy, gx, xn, xc, xp, gn, gc, gp, on, oc, op, w1, b1, weight, bias, w3, b3,
    saved, scratch, parts, size, eps, scale, BD: tl.constexpr, BP: tl.constexpr, BL: tl.constexpr,
    CS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program, n, first, width = slab_of(channels, units, CS, UNIT)
    x, gy, gx = x + n * xn + first * xc, gy + n * gn + first * gc, gx + n * on + first * oc
    length, positions = height + width, height * width
    logits, means, a, rows, taps = _kept(saved + program * size, positions, length, CS)
    of_z, of_means, of_a, line, of_taps = _kept(scratch + program * size, positions, length, CS)
    c, k, at_strip = tl.arange(0, BD), tl.arange(0, 16), tl.arange(0, BL)
    mu, r, beta = vector(rows, c, CS), vector(rows + CS, c, CS), vector(rows + 2 * CS, c, CS)
    sums = tl.zeros([BP], tl.float32)
    of_normal = tl.zeros([BD], tl.float32)  # sum_p of_z_p * (t_p - mu) r
    for start in range(0, positions, BP):
        values, p, inside = read(x, c, start, CS, positions, xc, xp, BP)
        s = tl.sigmoid(vector(logits, p, positions))
        of_logit = tl.sum(load(gy, c, p, gc, gp, inside) * values, 0) * scale * s * (1 - s)
        tl.store(of_z + p, of_logit, mask=p < positions)
        sums += of_logit
        row, column = crossed(a, c, p, inside, height, width)
        of_normal += tl.sum(of_logit[None, :] * ((values * row * column - mu[:, None]) * r[:, None]), 1)
    total = tl.sum(sums, 0)
    of_beta = vector(weight, c, CS) * of_normal + vector(bias, c, CS) * total
    of_mean = beta * (of_beta - tl.sum(beta * of_beta, 0))  # of x2
    of_tap = tl.sum(_cube(w3, c, CS)[2] * of_mean[:, None, None], 0) / positions
    tl.store(of_taps + c[:, None] * 16 + k[None, :], of_tap, mask=(c < CS)[:, None])
    slope = r * beta * vector(weight, c, CS)  # of_t = slope (of_z - mean(of_z) - normal * mean(of_z * normal))
    factor = -slope * of_normal / positions * r
    shift = -slope * total / positions - factor * mu
    tl.store(line + c, slope, mask=c < CS)
    tl.store(line + CS + c, factor, mask=c < CS)
    tl.store(line + 2 * CS + c, shift, mask=c < CS)
    tl.debug_barrier()
    pool(x, of_a, CS, height, width, xc, xp, BC, BR, BW, of_z, a, 0, 1, 1.0, line)
    tl.debug_barrier()
    of_strip = load_strip(of_a, c, at_strip, CS, length, length)
    of_w1 = tl.zeros([BD, BD], tl.float32)
    result = tl.zeros([BD, BL], tl.float32)
    for i in range(CS):
        result += vector(w1 + i * CS, c, CS)[:, None] * vector(of_a + i * length, at_strip, length)[None, :]
        of_weight = tl.sum(of_strip * vector(means + i * length, at_strip, length)[None, :], 1)
        of_w1 += tl.where(c[None, :] == i, of_weight[:, None], 0.0)
    result /= tl.where(at_strip < height, width, height)[None, :]
    store_strip(of_means, c, at_strip, CS, length, length, result)
    tl.debug_barrier()
    products = tl.zeros([BD, 16], tl.float32)  # sum_p of_z_p x_(p + k)
    for start in range(0, positions, BP):
        values, p, inside = read(x, c, start, CS, positions, xc, xp, BP)
        row, column = crossed(a, c, p, inside, height, width)
        of_t = slope[:, None] * vector(of_z, p, positions)[None, :] + shift[:, None]
        of_t += factor[:, None] * values * row * column
        s = scale * tl.sigmoid(vector(logits, p, positions))
        of_row, of_column = crossed(of_means, c, p, inside, height, width)
        of_x = load(gy, c, p, gc, gp, inside) * s[None, :] + of_t * row * column + of_row + of_column
        for tap in range(9):
            at, there = _neighbours(p, 8 - tap, height, width)
            of_logit = tl.load(of_z + at, mask=there, other=0.0)[None, :]
            of_x += vector(taps + tap, c * 16, CS * 16)[:, None] * of_logit
            of_x += tl.where(there[None, :], vector(of_taps + tap, c * 16, CS * 16)[:, None], 0.0)
            products += tl.where(k[None, :] == tap, tl.sum(values * of_logit, 1)[:, None], 0.0)
        store(gx, c, p, oc, op, inside, of_x)
    of_b1 = parts + program * (10 * CS * CS + 4 * CS) + CS * CS
    at = of_b1 - CS * CS + c[:, None] * CS + c[None, :]
    tl.store(at, of_w1, mask=(c < CS)[:, None] & (c < CS)[None, :])
    tl.store(of_b1 + c, tl.sum(of_strip, 1), mask=c < CS)
    tl.store(of_b1 + CS + c, beta * of_normal, mask=c < CS)
    alpha = _softmax(vector(bias, c, CS), c < CS)
    _, _, kernel = _cube(w3, c, CS)  # once more: not kept in registers meanwhile
    of_alpha = tl.sum(tl.sum(kernel * products[None, :, :], 2), 1) + vector(b3, c, CS) * total
    of_alpha = alpha * (of_alpha - tl.sum(alpha * of_alpha, 0))
    tl.store(of_b1 + 2 * CS + c, beta * total + of_alpha, mask=c < CS)
    windows = _windows(x, means, c, height, width, xc, xp, CS, BL)
    at, inside, _ = _cube(of_b1 + 3 * CS, c, CS)
    of_w3 = alpha[:, None, None] * products[None, :, :] + (of_mean / positions)[:, None, None] * windows[None, :, :]
    tl.store(at, of_w3, mask=inside)
    tl.store(of_b1 + 3 * CS + 9 * CS * CS + c, alpha * total + of_mean, mask=c < CS)


EMA = Form(
    lambda call: _launch(_forward_kernel, call),
    _backward,
    _saved,
    settings=lambda block: [block.groups, block.norm.eps, block.scale],
    refuses=_refuses,
)
