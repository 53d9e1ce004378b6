"""SE, cSE, ECA, GC, SNL and scSE in two kernels each way, and one for the gradients of their weights.

The context ``s = sum_p alpha_p x_p`` (C) is a mean, or weighted by ``alpha = softmax(w . x_p)``. It becomes a gate
``m`` and an addend ``a`` of each channel, as ``channel_stage`` says: ``y_p = m * x_p + a``. scSE has a gate ``q`` of
each position beside, ``q_p = scale * sigmoid(w . x_p + b)``.

1. ``pool``: each program takes a span of positions of an image, and writes their part of the context.
2. ``write``: each program of an image adds these parts, computes ``m`` and ``a``, and writes its span of ``y``.
3. ``reduce``: like ``pool``, the parts of the gradients of ``m`` and ``a``, ``sum_p gy_p x_p`` and ``sum_p gy_p``.
4. ``write_gradient``: like ``write``, the gradients of ``s`` and of ``x``.
5. ``weights``: gradients of both layers, sums over images.

What an image's programs share is a row of float32: ``s`` (C), then for each transform ``m`` or ``a`` (C) and ``z``
(width), then the maximum and the sum of the softmax. A row of gradients holds for each transform those of ``s`` (C) and
of ``t`` (C), and the rest that ``channel_stage.transform_gradient`` writes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from yolo_attn.blocks.fused.channel_stage import transform, transform_gradient
from yolo_attn.blocks.fused.slab import load, store, vector


@triton.jit
def _combined(x, m, q, COMBINE: tl.constexpr):
    """Return the factor of ``x``, and the shares of the gradient of ``y`` times ``x`` that ``m`` and ``q`` get."""
    if COMBINE == 1:  # x m + x q
        return m + q, 1.0, 1.0
    elif COMBINE == 2:  # max(x m, x q)
        a, b = x * m, x * q
        share = tl.where(a > b, 1.0, tl.where(a == b, 0.5, 0.0))
        return m * share + q * (1 - share), share, 1 - share
    else:  # x m q
        return m * q, q, m


@triton.jit
def pool(
    x, w, b, z, parts, channels, positions, span, scale, xn, xc, xp,
    SOFTMAX: tl.constexpr, COMBINE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the parts of the context, and the logits or gates ``z`` of positions."""
    n, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x += n * xn
    first = k * span
    parts += (n * tl.num_programs(1) + k) * (channels + 2)
    top, total = 0.0, 0.0
    if SOFTMAX or COMBINE > 0:
        z += n * positions
        highest = tl.full([BP], float("-inf"), tl.float32)
        for start in range(first, first + span, BP):
            p = start + tl.arange(0, BP)
            logits = tl.zeros([BP], tl.float32)
            for begin in range(0, channels, BC):
                c = begin + tl.arange(0, BC)
                inside = (c[:, None] < channels) & (p[None, :] < positions)
                logits += tl.sum(load(x, c, p, xc, xp, inside) * vector(w, c, channels)[:, None], 0)
            if COMBINE > 0:
                if b is not None:
                    logits += tl.load(b).to(tl.float32)
                logits = scale * tl.sigmoid(logits)
            tl.store(z + p, logits, mask=p < positions)
            highest = tl.maximum(highest, tl.where(p < positions, logits, float("-inf")))
        tl.debug_barrier()
        if SOFTMAX:  # the bias of the mask is without effect
            top = tl.max(highest, 0)
            sums = tl.zeros([BP], tl.float32)
            for start in range(first, first + span, BP):
                p = start + tl.arange(0, BP)
                sums += tl.exp(tl.load(z + p, mask=p < positions, other=float("-inf")) - top)
            total = tl.sum(sums, 0)
            tl.store(parts + channels, top)
            tl.store(parts + channels + 1, total)
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        part = tl.zeros([BC, BP], tl.float32)
        for start in range(first, first + span, BP):
            p = start + tl.arange(0, BP)
            values = load(x, c, p, xc, xp, (c[:, None] < channels) & (p[None, :] < positions))
            if SOFTMAX:
                values *= tl.exp(tl.load(z + p, mask=p < positions, other=float("-inf")) - top)[None, :]
            part += values
        tl.store(parts + c, tl.sum(part, 1), mask=c < channels)


@triton.jit
def write(
    x, z, parts, y, rows, w1, b1, gain, shift, w2, b2, w1m, b1m, gainm, shiftm, w2m, b2m,
    channels, positions, span, width, row, xn, xc, xp, yn, yc, yp, scale, eps,
    ADD: tl.constexpr, MUL: tl.constexpr, SOFTMAX: tl.constexpr, COMBINE: tl.constexpr, TAPS: tl.constexpr,
    HID: tl.constexpr, CS: tl.constexpr, BB: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``y``, and the rows."""
    n, k, blocks = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    x += n * xn
    y += n * yn
    parts += n * blocks * (channels + 2)
    s = rows + n * row
    add = s + channels  # the first transform
    mul = add + ADD * (channels + width)
    of_block = tl.arange(0, BB)
    factors = tl.zeros([BB], tl.float32) + 1 / positions
    if SOFTMAX:
        tops = parts + of_block * (channels + 2) + channels
        top = tl.load(tops, mask=of_block < blocks, other=float("-inf"))
        highest = tl.max(top, 0)
        factors = tl.exp(top - highest)
        total = tl.sum(factors * tl.load(tops + 1, mask=of_block < blocks, other=0.0), 0)
        factors /= total
        tl.store(s + row - 2, highest)
        tl.store(s + row - 1, total)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        inside = (of_block[:, None] < blocks) & (c[None, :] < channels)
        part = tl.load(parts + of_block[:, None] * (channels + 2) + c[None, :], mask=inside, other=0.0)
        tl.store(s + c, tl.sum(part * factors[:, None], 0), mask=c < channels)
    tl.debug_barrier()
    if ADD:
        transform(
            s, add + channels, add, w1, b1, gain, shift, w2, b2, channels, width, scale, eps, False, TAPS, HID, CS
        )  # fmt: skip
    if MUL:
        transform(
            s, mul + channels, mul, w1m, b1m, gainm, shiftm, w2m, b2m, channels, width, scale, eps,
            True, TAPS, HID, CS
        )  # fmt: skip
    tl.debug_barrier()
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        if ADD:
            a = vector(add, c, channels)[:, None]
        if MUL:
            m = vector(mul, c, channels)[:, None]
        for start in range(k * span, k * span + span, BP):
            p = start + tl.arange(0, BP)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            values = load(x, c, p, xc, xp, inside)
            if COMBINE > 0:
                values *= _combined(values, m, vector(z + n * positions, p, positions)[None, :], COMBINE)[0]
            elif MUL:
                values *= m
            if ADD:
                values += a
            store(y, c, p, yc, yp, inside, values)


@triton.jit
def reduce(
    x, gy, z, rows, of_z, parts, channels, positions, span, width, row, xn, xc, xp, gn, gc, gp, scale,
    ADD: tl.constexpr, MUL: tl.constexpr, COMBINE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the parts of the gradients of ``m`` and ``a``, and the gradients of ``z`` for scSE."""
    n, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x += n * xn
    gy += n * gn
    first = k * span
    parts += (n * tl.num_programs(1) + k) * channels * (ADD + MUL)
    gates = rows + n * row + channels
    if COMBINE > 0:
        z += n * positions
        for start in range(first, first + span, BP):
            p = start + tl.arange(0, BP)
            q = vector(z, p, positions)
            of_q = tl.zeros([BP], tl.float32)
            for begin in range(0, channels, BC):
                c = begin + tl.arange(0, BC)
                inside = (c[:, None] < channels) & (p[None, :] < positions)
                values, m = load(x, c, p, xc, xp, inside), vector(gates, c, channels)
                share = _combined(values, m[:, None], q[None, :], COMBINE)[2]
                of_q += tl.sum(load(gy, c, p, gc, gp, inside) * values * share, 0)
            tl.store(of_z + n * positions + p, of_q * q * (1 - q / scale), mask=p < positions)
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        of_add = tl.zeros([BC, BP], tl.float32)
        of_mul = tl.zeros([BC, BP], tl.float32)
        for start in range(first, first + span, BP):
            p = start + tl.arange(0, BP)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            of_y = load(gy, c, p, gc, gp, inside)
            if ADD:
                of_add += of_y
            if MUL:
                values = load(x, c, p, xc, xp, inside)
                of_y *= values
                if COMBINE > 0:
                    m, q = vector(gates, c, channels), vector(z, p, positions)
                    of_y *= _combined(values, m[:, None], q[None, :], COMBINE)[1]
                of_mul += of_y
        if ADD:
            tl.store(parts + c, tl.sum(of_add, 1), mask=c < channels)
        if MUL:
            tl.store(parts + ADD * channels + c, tl.sum(of_mul, 1), mask=c < channels)


@triton.jit
def write_gradient(
    x, gy, z, of_z, parts, gx, rows, of_rows, of_mask, w, w1, gain, shift, w2, w1m, gainm, shiftm, w2m,
    channels, positions, span, width, row, of_row, xn, xc, xp, gn, gc, gp, on, oc, op, scale, eps,
    ADD: tl.constexpr, MUL: tl.constexpr, SOFTMAX: tl.constexpr, COMBINE: tl.constexpr, TAPS: tl.constexpr,
    NEEDS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr, BB: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``x``, the rows of gradients, and the parts of the gradient of ``w`` and ``b``."""
    n, k, blocks = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    x += n * xn
    gy += n * gn
    gx += n * on
    first = k * span
    parts += n * blocks * channels * (ADD + MUL)
    s = rows + n * row
    add = s + channels
    mul = add + ADD * (channels + width)
    of_add = of_rows + n * of_row
    of_mul = of_add + ADD * (of_row // (ADD + MUL))
    of_block = tl.arange(0, BB)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        inside = (of_block[:, None] < blocks) & (c[None, :] < channels)
        part = parts + of_block[:, None] * (channels * (ADD + MUL)) + c[None, :]
        if ADD:
            of_t = tl.sum(tl.load(part, mask=inside, other=0.0), 0)
            tl.store(of_add + channels + c, of_t, mask=c < channels)
        if MUL:
            m = vector(mul, c, channels)
            of_t = tl.sum(tl.load(part + ADD * channels, mask=inside, other=0.0), 0) * m * (1 - m / scale)
            tl.store(of_mul + channels + c, of_t, mask=c < channels)
    tl.debug_barrier()
    if ADD:
        transform_gradient(
            s, add + channels, of_add + channels, of_add, of_add + 2 * channels, w1, gain, shift, w2,
            channels, width, eps, TAPS, HID, CS
        )  # fmt: skip
    if MUL:
        transform_gradient(
            s, mul + channels, of_mul + channels, of_mul, of_mul + 2 * channels, w1m, gainm, shiftm, w2m,
            channels, width, eps, TAPS, HID, CS
        )  # fmt: skip
    tl.debug_barrier()
    if SOFTMAX or COMBINE > 0:
        z += n * positions
        of_z += n * positions
    if SOFTMAX:  # alpha_p = exp(z_p - highest) / total, and the gradient of z_p is alpha_p of_s . (x_p - s)
        highest, total = tl.load(s + row - 2), tl.load(s + row - 1)
        for start in range(first, first + span, BP):
            p = start + tl.arange(0, BP)
            t = tl.zeros([BP], tl.float32)
            for begin in range(0, channels, BC):
                c = begin + tl.arange(0, BC)
                inside = (c[:, None] < channels) & (p[None, :] < positions)
                of_s = vector(of_add, c, channels)
                if ADD and MUL:
                    of_s += vector(of_mul, c, channels)
                t += tl.sum((load(x, c, p, xc, xp, inside) - vector(s, c, channels)[:, None]) * of_s[:, None], 0)
            alpha = tl.exp(vector(z, p, positions) - highest) / total
            tl.store(of_z + p, t * alpha, mask=p < positions)
        tl.debug_barrier()
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        of_s = vector(of_add, c, channels)
        if ADD and MUL:
            of_s += vector(of_mul, c, channels)
        if MUL:
            m = vector(mul, c, channels)[:, None]
        if SOFTMAX or COMBINE > 0:
            weight = vector(w, c, channels)[:, None]
        of_weight = tl.zeros([BC, BP], tl.float32)
        for start in range(first, first + span, BP):
            p = start + tl.arange(0, BP)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            of_x = load(gy, c, p, gc, gp, inside)
            if COMBINE > 0:
                q = vector(z, p, positions)[None, :]
                of_x *= _combined(load(x, c, p, xc, xp, inside), m, q, COMBINE)[0]
            elif MUL:
                of_x *= m
            if SOFTMAX:
                of_x += of_s[:, None] * (tl.exp(vector(z, p, positions) - highest) / total)[None, :]
            else:
                of_x += of_s[:, None] / positions
            if SOFTMAX or COMBINE > 0:
                of_logit = vector(of_z, p, positions)[None, :]
                of_x += weight * of_logit
                if NEEDS:
                    of_weight += load(x, c, p, xc, xp, inside) * of_logit
            store(gx, c, p, oc, op, inside, of_x)
        if NEEDS and (SOFTMAX or COMBINE > 0):
            of_w = of_mask + (n * blocks + k) * (channels + 1)
            tl.store(of_w + c, tl.sum(of_weight, 1), mask=c < channels)
    if NEEDS and (SOFTMAX or COMBINE > 0):  # the bias; that of a softmax is without effect
        of_bias = tl.zeros([BP], tl.float32)
        if COMBINE > 0:
            for start in range(first, first + span, BP):
                of_bias += vector(of_z, start + tl.arange(0, BP), positions)
        tl.store(of_mask + (n * blocks + k) * (channels + 1) + channels, tl.sum(of_bias, 0))


@triton.jit
def weights(
    rows, of_rows, out, images, channels, width, row, of_row, of_transform, size,
    W1: tl.constexpr, BIAS: tl.constexpr, NORM: tl.constexpr, HID: tl.constexpr, BC: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the gradients of both layers of each transform, for a block of channels."""
    t = tl.program_id(1)
    c, j = tl.program_id(0) * BC + tl.arange(0, BC), tl.arange(0, HID)
    of_rows += t * of_transform + channels
    out += t * size
    of_w1 = tl.zeros([BC, HID], tl.float32)
    of_w2 = tl.zeros([BC, HID], tl.float32)
    of_b2 = tl.zeros([BC], tl.float32)
    of_b1 = tl.zeros([HID], tl.float32)
    of_gain = tl.zeros([HID], tl.float32)
    of_shift = tl.zeros([HID], tl.float32)
    for start in range(0, images, BN):
        n = start + tl.arange(0, BN)
        of_t = tl.trans(_block(of_rows, n, c, images, channels, of_row))  # (BC, BN)
        of_b2 += tl.sum(of_t, 1)
        if W1:
            rest = of_rows + channels
            of_w2 += tl.dot(of_t, _block(rest, n, j, images, width, of_row), input_precision="ieee")
            of_z = _block(rest + width, n, j, images, width, of_row)  # (BN, HID)
            s = tl.trans(_block(rows, n, c, images, channels, row))
            of_w1 += tl.dot(s, of_z, input_precision="ieee")
            of_b1 += tl.sum(of_z, 0)
            if NORM:
                of_gain += tl.sum(_block(rest + 2 * width, n, j, images, width, of_row), 0)
                of_shift += tl.sum(_block(rest + 3 * width, n, j, images, width, of_row), 0)
        else:
            of_w2 += tl.dot(of_t, _block(rows, n, j, images, width, row), input_precision="ieee")
    inside = (c[:, None] < channels) & (j[None, :] < width)
    if W1:
        tl.store(out + j[None, :] * channels + c[:, None], of_w1, mask=inside)
        out += width * channels
        if BIAS:
            tl.store(out + j, of_b1, mask=j < width)
            out += width
        if NORM:
            tl.store(out + j, of_gain, mask=j < width)
            tl.store(out + width + j, of_shift, mask=j < width)
            out += 2 * width
    tl.store(out + c[:, None] * width + j[None, :], of_w2, mask=inside)
    if BIAS:
        tl.store(out + width * channels + c, of_b2, mask=c < channels)


@triton.jit
def _block(start, n, i, images, size, row):
    """Return values ``i`` of the rows of images ``n``, 0 beyond their sizes."""
    inside = (n[:, None] < images) & (i[None, :] < size)
    return tl.load(start + n[:, None] * row + i[None, :], mask=inside, other=0.0)
