"""SE, cSE, ECA, GC, SNL and scSE in two kernels each way, and one for the gradients of their weights.

The context is ``s = sum_p alpha_p x_p`` (C), ``alpha = softmax(z)``, ``z_p = w . x_p`` or, for a mean, 0. It becomes a
gate ``m`` and an addend ``a`` of each channel, as ``channel_stage`` says: ``y_p = m * x_p + a``. scSE has a gate of
each position beside, ``q_p = scale * sigmoid(w . x_p + b)``, and stores it in place of ``z``.

1. ``pool``: each program has a tile of positions of an image, all channels, and writes its part of the context.
2. ``write``: each program of an image adds these parts, computes ``m`` and ``a``, and writes its tile of ``y``.
3. ``reduce``: like ``pool``, the parts of the gradients of ``a`` and ``m``, ``sum_p gy_p`` and ``sum_p gy_p x_p``.
4. ``write_gradient``: like ``write``, the gradients of ``s``, of ``z`` or ``q``, and of ``x``.
5. ``weights``: gradients of both layers, sums over images.

What an image's programs share is a row of float32: the maximum and the sum of the softmax, ``s`` (C), and for each
transform ``a`` or ``m`` (C) and ``z`` (width). A row of gradients holds for each transform those of ``s`` (C) and of
``t`` (C), and the rest that ``channel_stage.transform_gradient`` writes (4 width).
"""

from __future__ import annotations

import triton
import triton.language as tl

from yolo_attn.blocks.fused.channel_stage import transform, transform_gradient
from yolo_attn.blocks.fused.slab import load, store, strided, vector


@triton.jit
def _program(positions, BP: tl.constexpr):
    """Return the image of a program, its number, and its positions."""
    n, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    return n, n * tl.num_programs(1) + k, k * BP + tl.arange(0, BP)


@triton.jit
def _row(rows, n, channels, width, ADD: tl.constexpr, MUL: tl.constexpr):
    """Return where ``s``, ``a`` and ``m`` of an image are."""
    s = rows + n * (2 + channels + (ADD + MUL) * (channels + width)) + 2
    return s, s + channels, s + channels + ADD * (channels + width)


@triton.jit
def _gate(x, mul, q, c, channels, COMBINE: tl.constexpr):
    """Return the factor of ``x``, and the shares of the gradient of ``y`` times ``x`` that ``m`` and ``q`` get."""
    m = vector(mul, c, channels)[:, None]
    if COMBINE == 0:  # x m
        return m, 1.0, 0.0
    elif COMBINE == 1:  # x m + x q
        return m + q[None, :], 1.0, 1.0
    elif COMBINE == 2:  # max(x m, x q)
        share = tl.where(x * m > x * q[None, :], 1.0, tl.where(x * m == x * q[None, :], 0.5, 0.0))
        return m * share + q[None, :] * (1 - share), share, 1 - share
    else:  # x m q
        return m * q[None, :], q[None, :], m


@triton.jit
def pool(
    x, z, parts, w, b, channels, positions, scale, xn, xc, xp,
    SOFTMAX: tl.constexpr, COMBINE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``z`` or ``q``, and with ``e_p = exp(z_p - top)`` the part ``sum_p e_p x_p``, ``top`` and ``sum_p e_p``."""
    n, program, p = _program(positions, BP)
    x += n * xn
    parts += program * (channels + 2)
    t = tl.zeros([BP], tl.float32)
    if z is not None:
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            t += tl.sum(load(x, c, p, xc, xp, inside) * vector(w, c, channels)[:, None], 0)
        if COMBINE > 0:
            t = scale * tl.sigmoid(t if b is None else t + tl.load(b).to(tl.float32))
        tl.store(z + n * positions + p, t, mask=p < positions)
    t = tl.where(p < positions, t if SOFTMAX else 0.0, float("-inf"))  # the bias of a softmax is without effect
    top = tl.max(t, 0)
    e = tl.exp(t - top)
    tl.store(parts + channels, top)
    tl.store(parts + channels + 1, tl.sum(e, 0))
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        tl.store(parts + c, tl.sum(load(x, c, p, xc, xp, inside) * e[None, :], 1), mask=c < channels)


@triton.jit
def write(
    x, y, z, parts, rows, w1, b1, gain, shift, w2, b2, w1m, b1m, gainm, shiftm, w2m, b2m,
    channels, positions, width, scale, eps, xn, xc, xp, yn, yc, yp, ADD: tl.constexpr, MUL: tl.constexpr,
    COMBINE: tl.constexpr, TAPS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr, BB: tl.constexpr,
    BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``y``, and the rows."""
    n, _, p = _program(positions, BP)
    s, add, mul = _row(rows, n, channels, width, ADD, MUL)
    i, blocks, size = tl.arange(0, BB), tl.num_programs(1), channels + 2
    parts += n * blocks * size
    tops = tl.load(parts + i * size + channels, mask=i < blocks, other=float("-inf"))
    top = tl.max(tops, 0)
    share = tl.exp(tops - top)
    total = tl.sum(share * tl.load(parts + i * size + channels + 1, mask=i < blocks, other=0.0), 0)
    tl.store(s - 2, top)
    tl.store(s - 1, total)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        part = strided(parts, i, c, blocks, channels, size, 1)
        tl.store(s + c, tl.sum(part * share[:, None], 0) / total, mask=c < channels)
    tl.debug_barrier()
    if ADD:
        transform(s, add, w1, b1, gain, shift, w2, b2, channels, width, scale, eps, False, TAPS, HID, CS)
    if MUL:
        transform(s, mul, w1m, b1m, gainm, shiftm, w2m, b2m, channels, width, scale, eps, True, TAPS, HID, CS)
    tl.debug_barrier()
    q = vector(z + n * positions, p, positions) if COMBINE > 0 else 0.0
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        values = load(x + n * xn, c, p, xc, xp, inside)
        if MUL:
            values *= _gate(values, mul, q, c, channels, COMBINE)[0]
        if ADD:
            values += vector(add, c, channels)[:, None]
        store(y + n * yn, c, p, yc, yp, inside, values)


@triton.jit
def reduce(
    x, gy, z, parts, rows, channels, positions, width, xn, xc, xp, gn, gc, gp,
    ADD: tl.constexpr, MUL: tl.constexpr, COMBINE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the parts of the gradients of ``a`` and ``m``."""
    n, program, p = _program(positions, BP)
    mul = _row(rows, n, channels, width, ADD, MUL)[2]
    parts += program * (3 * channels + 1)
    q = vector(z + n * positions, p, positions) if COMBINE > 0 else 0.0
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        of_y = load(gy + n * gn, c, p, gc, gp, inside)
        tl.store(parts + c, tl.sum(of_y, 1), mask=c < channels)
        if MUL:
            values = load(x + n * xn, c, p, xc, xp, inside)
            of_y *= values * _gate(values, mul, q, c, channels, COMBINE)[1]
            tl.store(parts + channels + c, tl.sum(of_y, 1), mask=c < channels)


@triton.jit
def write_gradient(
    x, gy, gx, z, parts, rows, of_rows, w, w1, b1, gain, shift, w2, b2, w1m, b1m, gainm, shiftm, w2m, b2m,
    channels, positions, width, scale, eps, xn, xc, xp, gn, gc, gp, on, oc, op, ADD: tl.constexpr, MUL: tl.constexpr,
    SOFTMAX: tl.constexpr, COMBINE: tl.constexpr, NEEDS: tl.constexpr, TAPS: tl.constexpr, HID: tl.constexpr,
    CS: tl.constexpr, BB: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``x``, the rows of gradients, and the parts of the gradients of ``w`` (C) and ``b``."""
    n, program, p = _program(positions, BP)
    s, add, mul = _row(rows, n, channels, width, ADD, MUL)
    i, blocks, size = tl.arange(0, BB), tl.num_programs(1), 3 * channels + 1
    of_add = of_rows + n * (ADD + MUL) * (2 * channels + 4 * width)
    of_mul = of_add + ADD * MUL * (2 * channels + 4 * width)
    of_w = parts + program * size + 2 * channels
    parts += n * blocks * size
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        if ADD:
            of_a = tl.sum(strided(parts, i, c, blocks, channels, size, 1), 0)
            tl.store(of_add + channels + c, of_a, mask=c < channels)
        if MUL:
            m = vector(mul, c, channels)
            of_m = tl.sum(strided(parts + channels, i, c, blocks, channels, size, 1), 0)
            tl.store(of_mul + channels + c, of_m * m * (1 - m / scale), mask=c < channels)
    tl.debug_barrier()
    if ADD:
        transform_gradient(s, add, of_add, None, w1, gain, shift, w2, channels, width, eps, TAPS, HID, CS)
        tl.debug_barrier()
    if MUL:  # adds the gradient of s by the other transform to its own
        other = of_add if ADD else None
        transform_gradient(s, mul, of_mul, other, w1m, gainm, shiftm, w2m, channels, width, eps, TAPS, HID, CS)
        tl.debug_barrier()
    q = vector(z + n * positions, p, positions) if COMBINE > 0 else 0.0
    e = tl.exp(vector(z + n * positions, p, positions) - tl.load(s - 2)) if SOFTMAX else 1.0
    alpha = tl.where(p < positions, e, 0.0) / tl.load(s - 1)
    t = tl.zeros([BP], tl.float32)  # the gradient of w . x_p
    if z is not None:
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            values = load(x + n * xn, c, p, xc, xp, inside)
            if SOFTMAX:  # of_s . (x_p - s)
                t += tl.sum((values - vector(s, c, channels)[:, None]) * vector(of_mul, c, channels)[:, None], 0)
            else:
                of_q = values * _gate(values, mul, q, c, channels, COMBINE)[2]
                t += tl.sum(load(gy + n * gn, c, p, gc, gp, inside) * of_q, 0)
        t *= alpha if SOFTMAX else q * (1 - q / scale)
        tl.store(of_w + channels, 0.0 if SOFTMAX else tl.sum(t, 0))
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        values = load(x + n * xn, c, p, xc, xp, inside)
        of_x = load(gy + n * gn, c, p, gc, gp, inside)
        if MUL:
            of_x *= _gate(values, mul, q, c, channels, COMBINE)[0]
        of_x += vector(of_mul, c, channels)[:, None] * alpha[None, :]
        if z is not None:
            of_x += vector(w, c, channels)[:, None] * t[None, :]
            if NEEDS:
                tl.store(of_w + c, tl.sum(values * t[None, :], 1), mask=c < channels)
        store(gx + n * on, c, p, oc, op, inside, of_x)


@triton.jit
def weights(
    rows, of_rows, out, images, channels, width, row, of_row, size,
    FIRST: tl.constexpr, HID: tl.constexpr, BC: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write for a block of channels ``W1, b1, gain, shift, W2, b2``: sums over images, for ``W`` of outer products."""
    c, j, i = tl.program_id(0) * BC + tl.arange(0, BC), tl.arange(0, HID), tl.arange(0, 4 * HID)
    of_t = of_rows + tl.program_id(1) * (2 * channels + 4 * width) + channels
    h = of_t + channels
    out += tl.program_id(1) * size
    of_w1 = tl.zeros([BC, HID], tl.float32)
    of_w2 = tl.zeros([BC, HID], tl.float32)
    of_hidden = tl.zeros([4 * HID], tl.float32)  # b1, gain and shift
    of_b2 = tl.zeros([BC], tl.float32)
    for start in range(0, images, BN):
        n = start + tl.arange(0, BN)
        t = strided(of_t, c, n, channels, images, 1, of_row)  # (BC, BN)
        of_w2 += tl.dot(t, strided(h, n, j, images, width, of_row, 1), input_precision="ieee")
        of_b2 += tl.sum(t, 1)
        if FIRST:
            s = strided(rows + 2, c, n, channels, images, 1, row)
            of_w1 += tl.dot(s, strided(h + width, n, j, images, width, of_row, 1), input_precision="ieee")
            of_hidden += tl.sum(strided(h + width, n, i, images, 3 * width, of_row, 1), 0)
    inside = (c[:, None] < channels) & (j[None, :] < width)
    if FIRST:
        tl.store(out + j[None, :] * channels + c[:, None], of_w1, mask=inside)
        tl.store(out + width * channels + i, of_hidden, mask=i < 3 * width)
        out += width * (channels + 3)
    tl.store(out + c[:, None] * width + j[None, :], of_w2, mask=inside)
    tl.store(out + width * channels + c, of_b2, mask=c < channels)
