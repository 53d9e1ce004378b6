"""The kernels of CBAM, whose form says what they compute; each takes an image and a span of its positions.

What the programs of an image share is in rows and maps of float32; every program computes a row anew and writes the
same values. A row holds mean, maximum, its first position and the gate ``a`` of each channel, then ``W0 s + b0`` of
mean and of maximum (hidden each). Maps are ``q`` (2), the first channel that has the maximum, and ``BN(o)`` before
weight and bias; ``o`` until then. A row of gradients holds those of the argument of ``a``, of mean and of maximum, then
``u = relu(W0 mean + b0) + relu(W0 max + b0)`` and the gradients of its two arguments; maps of gradients are those of
``q`` and of ``BN(o)``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from yolo_attn.blocks.fused.slab import load, matrix, moments, read, store, strided, vector


@triton.jit
def _image(rows, maps, channels, positions, hidden):
    """Return the image of a program, its row and its maps."""
    n = tl.program_id(0).to(tl.int64)
    return n, rows + n * (4 * channels + 2 * hidden), maps + n * 4 * positions


@triton.jit
def _taps(maps, p, k, there, height, width, SIGN: tl.constexpr, K: tl.constexpr):
    """Return where taps ``k`` of a K x K kernel on one map or more read for positions ``p``, and which are there."""
    h = (p // width)[None, :] + SIGN * (k % (K * K) // K - K // 2)[:, None]
    w = (p % width)[None, :] + SIGN * (k % K - K // 2)[:, None]
    inside = (h >= 0) & (h < height) & (w >= 0) & (w < width) & (p < height * width)[None, :] & there[:, None]
    return maps + (k // (K * K) * height * width)[:, None] + h * width + w, inside


@triton.jit
def _windows(q, p, height, width, K: tl.constexpr, BT: tl.constexpr):
    """Return what the taps on both maps read, ``(BT, BP)``."""
    t = tl.arange(0, BT)
    at, inside = _taps(q, p, t, t < 2 * K * K, height, width, 1, K)
    return tl.load(at, mask=inside, other=0.0)


@triton.jit
def _convolved(q, kernel, p, height, width, K: tl.constexpr, BT: tl.constexpr):
    return tl.sum(_windows(q, p, height, width, K, BT) * vector(kernel, tl.arange(0, BT), 2 * K * K)[:, None], 0)


@triton.jit
def _factor(weight):
    """Return the weight of the norm, 1 if that is folded into the convolution."""
    return 1.0 if weight is None else tl.load(weight).to(tl.float32)


@triton.jit
def _gate(normal, weight, bias):
    return tl.sigmoid(normal * _factor(weight) + tl.load(bias).to(tl.float32))


@triton.jit
def pool(x, rows, channels, positions, hidden, xn, xc, xp, BC: tl.constexpr, BP: tl.constexpr):
    """Write mean and maximum of a few channels, and the first position that has it."""
    program, blocks = tl.program_id(0).to(tl.int64), tl.cdiv(channels, BC)
    n, c = program // blocks, (program % blocks).to(tl.int32) * BC + tl.arange(0, BC)
    total, best = tl.zeros([BC], tl.float32), tl.full([BC], float("-inf"), tl.float32)
    first = tl.zeros([BC], tl.int32)
    for start in range(0, positions, BP):
        values, _, inside = read(x + n * xn, c, start, channels, positions, xc, xp, BP)
        total += tl.sum(values, 1)
        top, at = tl.max(tl.where(inside, values, float("-inf")), 1, return_indices=True)
        first = tl.where(top > best, start + at, first)
        best = tl.maximum(top, best)
    rows += n * (4 * channels + 2 * hidden) + c
    tl.store(rows, total / positions, mask=c < channels)
    tl.store(rows + channels, best, mask=c < channels)
    tl.store(rows + 2 * channels, first.to(tl.float32, bitcast=True), mask=c < channels)


@triton.jit
def squeeze(
    x, rows, maps, w0, b0, w1, b1, channels, positions, hidden, span, xn, xc, xp, scale,
    HID: tl.constexpr, CS: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``a``; and ``q``, with the first channel that has the maximum."""
    n, row, maps = _image(rows, maps, channels, positions, hidden)
    gates, j = row + 3 * channels, tl.arange(0, HID)
    of_mean, of_max = tl.zeros([HID, CS], tl.float32), tl.zeros([HID, CS], tl.float32)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        w = matrix(w0, j, c, hidden, channels)
        of_mean += w * vector(row, c, channels)[None, :]
        of_max += w * vector(row + channels, c, channels)[None, :]
    h_mean = tl.sum(of_mean, 1) + vector(b0, j, hidden)
    h_max = tl.sum(of_max, 1) + vector(b0, j, hidden)
    tl.store(gates + channels + j, h_mean, mask=j < hidden)
    tl.store(gates + channels + hidden + j, h_max, mask=j < hidden)
    u = tl.maximum(h_mean, 0.0) + tl.maximum(h_max, 0.0)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        z = tl.sum(matrix(w1, c, j, channels, hidden) * u[None, :], 1) + 2 * vector(b1, c, channels)
        tl.store(gates + c, scale * tl.sigmoid(z), mask=c < channels)
    tl.debug_barrier()
    for start in range(tl.program_id(1) * span, tl.program_id(1) * span + span, BP):
        p = start + tl.arange(0, BP)
        total, best = tl.zeros([BP], tl.float32), tl.full([BP], float("-inf"), tl.float32)
        first = tl.zeros([BP], tl.int32)
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            values, p, inside = read(x + n * xn, c, start, channels, positions, xc, xp, BP)
            values *= vector(gates, c, channels)[:, None]
            total += tl.sum(values, 0)
            top, at = tl.max(tl.where(inside, values, float("-inf")), 0, return_indices=True)
            first = tl.where(top > best, begin + at, first)
            best = tl.maximum(top, best)
        tl.store(maps + p, best, mask=p < positions)
        tl.store(maps + positions + p, total / channels, mask=p < positions)
        tl.store(maps + 2 * positions + p, first.to(tl.float32, bitcast=True), mask=p < positions)


@triton.jit
def convolve(maps, kernel, parts, height, width, span, K: tl.constexpr, BT: tl.constexpr, BP: tl.constexpr):
    """Write ``o``, and mean and sum of squared deviations of the span."""
    n, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * span
    positions, one = height * width, tl.arange(0, 1)
    maps += n * 4 * positions
    o = maps + 3 * positions
    for start in range(first, first + span, BP):
        p = start + tl.arange(0, BP)
        tl.store(o + p, _convolved(maps, kernel, p, height, width, K, BT), mask=p < positions)
    tl.debug_barrier()
    mean, squares = moments(o + first, one, one < 1, tl.minimum(span, positions - first), 0, 1, 1, 512)
    parts += 2 * (n * tl.num_programs(1) + tl.program_id(1)) + one
    tl.store(parts, mean)
    tl.store(parts + 1, squares)


@triton.jit
def _batch_statistics(parts, positions, span, NP: tl.constexpr):
    """Return mean, variance, and unbiased variance of ``o``."""
    i, blocks = tl.arange(0, NP), tl.num_programs(1)
    there = i < tl.num_programs(0) * blocks
    count = tl.where(there, tl.minimum(span, positions - i % blocks * span), 0)
    means = tl.load(parts + 2 * i, mask=there, other=0.0)
    size = tl.sum(count.to(tl.float32), 0)
    mean = tl.sum(means * count, 0) / size
    d = means - mean
    squares = tl.sum(tl.load(parts + 2 * i + 1, mask=there, other=0.0) + count * d * d, 0)
    return mean, squares / size, squares / (size - 1)


@triton.jit
def write(
    x, y, rows, maps, statistics, parts, kernel, weight, bias, mean, var, channels, height, width, hidden, span,
    xn, xc, xp, yn, yc, yp, eps, scale,
    K: tl.constexpr, BT: tl.constexpr, NP: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``y``, ``BN(o)``, and mean, unbiased variance and ``1 / std`` that the norm takes; of a folded 0, 1 and 1.

    Those of the batch are made of the parts; without parts, ``o`` is computed here.
    """
    positions = height * width
    n, row, maps = _image(rows, maps, channels, positions, hidden)
    m, unbiased, r = 0.0, 1.0, 1.0
    if parts is not None:
        m, variance, unbiased = _batch_statistics(parts, positions, span, NP)
        r = 1 / tl.sqrt(variance + eps)
    elif mean is not None:
        m, unbiased = tl.load(mean).to(tl.float32), tl.load(var).to(tl.float32)
        r = 1 / tl.sqrt(unbiased + eps)
    if (n == 0) & (tl.program_id(1) == 0):
        tl.store(statistics, m)
        tl.store(statistics + 1, unbiased)
        tl.store(statistics + 2, r)
    for start in range(tl.program_id(1) * span, tl.program_id(1) * span + span, BP):
        p = start + tl.arange(0, BP)
        if parts is None:
            o = _convolved(maps, kernel, p, height, width, K, BT)
        else:
            o = vector(maps + 3 * positions, p, positions)
        normal = (o - m) * r
        tl.store(maps + 3 * positions + p, normal, mask=p < positions)
        s = scale * _gate(normal, weight, bias)
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            values, p, inside = read(x + n * xn, c, start, channels, positions, xc, xp, BP)
            values *= s[None, :] * vector(row + 3 * channels, c, channels)[:, None]
            store(y + n * yn, c, p, yc, yp, inside, values)


@triton.jit
def reduce(
    x, gy, rows, maps, of_maps, parts, weight, bias, channels, positions, hidden, span,
    xn, xc, xp, gn, gc, gp, scale, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``BN(o)``, and the parts of those of the weight and the bias of the norm."""
    n, row, maps = _image(rows, maps, channels, positions, hidden)
    of_weight, of_bias = tl.zeros([BP], tl.float32), tl.zeros([BP], tl.float32)
    for start in range(tl.program_id(1) * span, tl.program_id(1) * span + span, BP):
        p = start + tl.arange(0, BP)
        total = tl.zeros([BC, BP], tl.float32)
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            values, p, inside = read(x + n * xn, c, start, channels, positions, xc, xp, BP)
            gated = values * vector(row + 3 * channels, c, channels)[:, None]
            total += load(gy + n * gn, c, p, gc, gp, inside) * gated
        normal = vector(maps + 3 * positions, p, positions)
        s = _gate(normal, weight, bias)
        of_norm = tl.sum(total, 0) * scale * s * (1 - s)
        of_weight += of_norm * normal
        of_bias += of_norm
        tl.store(of_maps + (n * 3 + 2) * positions + p, of_norm, mask=p < positions)
    parts += 2 * (n * tl.num_programs(1) + tl.program_id(1))
    tl.store(parts, tl.sum(of_weight))
    tl.store(parts + 1, tl.sum(of_bias))


@triton.jit
def _of_o(of_norm, normal, at, inside, factor, of_weight, of_bias):
    """Return the gradient of ``o``, 0 outside: ``w r (g - mean(g) - normal * mean(g normal))``."""
    g, n = tl.load(of_norm + at, mask=inside, other=0.0), tl.load(normal + at, mask=inside, other=0.0)
    return tl.where(inside, factor * (g - of_bias - n * of_weight), 0.0)


@triton.jit
def _of_gated(
    gy, of_maps, maps, c, start, channels, positions, gc, gp, weight, bias, scale, BP: tl.constexpr,
):  # fmt: skip
    """Return a tile of the gradient of ``x'``: ``gy s + dq2 / C``, and ``dq1`` where the maximum was."""
    of_y, p, inside = read(gy, c, start, channels, positions, gc, gp, BP)
    s = scale * _gate(vector(maps + 3 * positions, p, positions), weight, bias)
    top = vector(maps + 2 * positions, p, positions).to(tl.int32, bitcast=True)
    of_max, of_mean = vector(of_maps, p, positions), vector(of_maps + positions, p, positions) / channels
    of_gated = of_y * s[None, :] + of_mean[None, :] + tl.where(top[None, :] == c[:, None], of_max[None, :], 0.0)
    return tl.where(inside, of_gated, 0.0), p, inside


@triton.jit
def of_gates(
    x, gy, maps, statistics, of_maps, totals, parts, of_kernel, kernel, weight, bias,
    channels, height, width, span, xn, xc, xp, gn, gc, gp, scale,
    K: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``q``, and the parts of those of ``a`` and of the convolution."""
    positions, n, first = height * width, tl.program_id(0).to(tl.int64), tl.program_id(1) * span
    program = n * tl.num_programs(1) + tl.program_id(1)
    maps, of_maps = maps + n * 4 * positions, of_maps + n * 3 * positions
    of_norm, normal = of_maps + 2 * positions, maps + 3 * positions
    factor, of_weight, of_bias = _factor(weight) * tl.load(statistics + 2), 0.0, 0.0
    if totals is not None:
        size = tl.num_programs(0) * positions
        of_weight, of_bias = tl.load(totals) / size, tl.load(totals + 1) / size
    i, t = tl.arange(0, BK), tl.arange(0, BT)
    of_taps = tl.zeros([BT, BP], tl.float32)
    for start in range(first, first + span, BP):
        p = start + tl.arange(0, BP)
        at, inside = _taps(0, p, i, i < K * K, height, width, -1, K)
        of_o = _of_o(of_norm, normal, at, inside, factor, of_weight, of_bias)
        for k in tl.static_range(2):  # of the maximum, of the mean
            of_q = tl.sum(of_o * vector(kernel + k * K * K, i, K * K)[:, None], 0)
            tl.store(of_maps + k * positions + p, of_q, mask=p < positions)
        if of_kernel is not None:
            here = _of_o(of_norm, normal, p, p < positions, factor, of_weight, of_bias)
            of_taps += _windows(maps, p, height, width, K, BT) * here[None, :]
    if of_kernel is not None:
        tl.store(of_kernel + program * (2 * K * K) + t, tl.sum(of_taps, 1), mask=t < 2 * K * K)
    tl.debug_barrier()
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        total = tl.zeros([BC, BP], tl.float32)
        for start in range(first, first + span, BP):
            of_gated, p, inside = _of_gated(
                gy + n * gn, of_maps, maps, c, start, channels, positions, gc, gp, weight, bias, scale, BP)  # fmt: skip
            total += of_gated * load(x + n * xn, c, p, xc, xp, inside)
        tl.store(parts + program * channels + c, tl.sum(total, 1), mask=c < channels)


@triton.jit
def write_gradient(
    gy, gx, rows, maps, of_maps, parts, of_rows, w0, w1, weight, bias,
    channels, positions, hidden, span, gn, gc, gp, on, oc, op, scale,
    HID: tl.constexpr, CS: tl.constexpr, BB: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``x``, and the row of gradients."""
    n, row, maps = _image(rows, maps, channels, positions, hidden)
    first, blocks = tl.program_id(1) * span, tl.num_programs(1)
    of_row, of_maps = of_rows + n * 3 * (channels + hidden), of_maps + n * 3 * positions
    rest, j, block = of_row + 3 * channels, tl.arange(0, HID), tl.arange(0, BB)
    of_u = tl.zeros([CS, HID], tl.float32)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        gate = vector(row + 3 * channels, c, channels)
        of_z = tl.sum(matrix(parts + n * blocks * channels, block, c, blocks, channels), 0) * gate * (1 - gate / scale)
        tl.store(of_row + c, of_z, mask=c < channels)
        of_u += matrix(w1, c, j, channels, hidden) * of_z[:, None]
    h_mean, h_max = vector(row + 4 * channels, j, hidden), vector(row + 4 * channels + hidden, j, hidden)
    of_mean, of_max = tl.where(h_mean > 0, tl.sum(of_u, 0), 0.0), tl.where(h_max > 0, tl.sum(of_u, 0), 0.0)
    tl.store(rest + j, tl.maximum(h_mean, 0.0) + tl.maximum(h_max, 0.0), mask=j < hidden)
    tl.store(rest + hidden + j, of_mean, mask=j < hidden)
    tl.store(rest + 2 * hidden + j, of_max, mask=j < hidden)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        w = matrix(w0, j, c, hidden, channels)
        tl.store(of_row + channels + c, tl.sum(w * of_mean[:, None], 0), mask=c < channels)
        tl.store(of_row + 2 * channels + c, tl.sum(w * of_max[:, None], 0), mask=c < channels)
    tl.debug_barrier()
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        gate, shift = vector(row + 3 * channels, c, channels), vector(of_row + channels, c, channels) / positions
        top = vector(row + 2 * channels, c, channels).to(tl.int32, bitcast=True)
        of_top = vector(of_row + 2 * channels, c, channels)
        for start in range(first, first + span, BP):
            of_gated, p, inside = _of_gated(
                gy + n * gn, of_maps, maps, c, start, channels, positions, gc, gp, weight, bias, scale, BP)  # fmt: skip
            at_top = tl.where(top[:, None] == p[None, :], of_top[:, None], 0.0)
            store(gx + n * on, c, p, oc, op, inside, of_gated * gate[:, None] + shift[:, None] + at_top)


@triton.jit
def of_layers(
    rows, of_rows, out, images, channels, hidden, HID: tl.constexpr, BC: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the gradients of ``W0``, ``b0``, ``W1`` and ``b1``, sums over images; a program owns a few channels."""
    c, j = tl.program_id(0) * BC + tl.arange(0, BC), tl.arange(0, HID)
    of_w0, of_b0 = tl.zeros([HID, BC], tl.float32), tl.zeros([HID], tl.float32)
    of_w1, of_b1 = tl.zeros([BC, HID], tl.float32), tl.zeros([BC], tl.float32)
    row, of_row, rest = 4 * channels + 2 * hidden, 3 * (channels + hidden), of_rows + 3 * channels
    for start in range(0, images, BN):
        n = start + tl.arange(0, BN)
        of_z, u = strided(of_rows, n, c, images, channels, of_row, 1), strided(rest, n, j, images, hidden, of_row, 1)
        of_w1 = tl.dot(tl.trans(of_z), u, of_w1, input_precision="ieee")
        of_b1 += 2 * tl.sum(of_z, 0)
        for k in tl.static_range(2):  # of the mean, of the maximum
            of_h = strided(rest + (k + 1) * hidden, n, j, images, hidden, of_row, 1)
            s = strided(rows + k * channels, n, c, images, channels, row, 1)
            of_w0 = tl.dot(tl.trans(of_h), s, of_w0, input_precision="ieee")
            of_b0 += tl.sum(of_h, 0)
    size, inside = hidden * channels, (j[:, None] < hidden) & (c[None, :] < channels)
    tl.store(out + j[:, None] * channels + c[None, :], of_w0, mask=inside)
    tl.store(out + size + j, of_b0, mask=j < hidden)
    out += size + hidden
    tl.store(out + c[:, None] * hidden + j[None, :], of_w1, mask=tl.trans(inside))
    tl.store(out + size + c, of_b1, mask=c < channels)
