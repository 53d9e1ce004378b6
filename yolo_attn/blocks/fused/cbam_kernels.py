"""The kernels of CBAM, whose form says what they compute; each takes an image and a span of its positions.

What the programs of an image share is in rows and maps of float32. A row holds mean and maximum of each channel, their
gate ``a`` (C each), and ``W0 s + b0`` of mean and of maximum (hidden each); a row of gradients those of the argument of
``a``, of mean and of maximum, then ``u = relu(W0 mean + b0) + relu(W0 max + b0)``, and the gradients of its two
arguments. Every program of an image computes a row anew and writes the same values. Maps are ``q`` (2) and ``o``; those
of gradients likewise, with that of ``BN(o)`` in the place of ``o``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from yolo_attn.blocks.fused.slab import load, matrix, moments, store, vector


@triton.jit
def _neighbours(p, k, height, width, SIGN: tl.constexpr, K: tl.constexpr):
    """Return the positions ``(BT, BP)`` that taps ``k`` of a K x K kernel read, and which of them there are."""
    h = (p // width)[None, :] + SIGN * (k // K - K // 2)[:, None]
    w = (p % width)[None, :] + SIGN * (k % K - K // 2)[:, None]
    return h * width + w, (h >= 0) & (h < height) & (w >= 0) & (w < width) & (p < height * width)[None, :]


@triton.jit
def _taps(q, p, height, width, K: tl.constexpr, BT: tl.constexpr):
    """Return what the taps of both maps read, ``(BT, BP)``."""
    t = tl.arange(0, BT)
    at, inside = _neighbours(p, t % (K * K), height, width, 1, K)
    at += (t // (K * K) * (height * width))[:, None]
    return tl.load(q + at, mask=inside & (t < 2 * K * K)[:, None], other=0.0)


@triton.jit
def _convolved(q, kernel, p, height, width, K: tl.constexpr, BT: tl.constexpr):
    w = vector(kernel, tl.arange(0, BT), 2 * K * K)
    return tl.sum(_taps(q, p, height, width, K, BT) * w[:, None], 0)


@triton.jit
def _norm(mean, var, weight, bias, eps):
    """Return mean, ``1 / std``, weight and bias; those of an identity if the norm is folded into the convolution."""
    m, r, w = 0.0, 1.0, 1.0
    if weight is not None:
        m = tl.load(mean).to(tl.float32)
        r = 1 / tl.sqrt(tl.load(var).to(tl.float32) + eps)
        w = tl.load(weight).to(tl.float32)
    return m, r, w, tl.load(bias).to(tl.float32)


@triton.jit
def pool(x, rows, index, channels, positions, hidden, xn, xc, xp, BC: tl.constexpr, BP: tl.constexpr):
    """Write mean and maximum of a few channels, and the first position that has it."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(channels, BC)
    n, c = program // blocks, (program % blocks).to(tl.int32) * BC + tl.arange(0, BC)
    x += n * xn
    total = tl.zeros([BC], tl.float32)
    best = tl.full([BC], float("-inf"), tl.float32)
    first = tl.zeros([BC], tl.int32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        inside = (c[:, None] < channels) & (p[None, :] < positions)
        values = load(x, c, p, xc, xp, inside)
        total += tl.sum(values, 1)
        values = tl.where(inside, values, float("-inf"))
        top = tl.max(values, 1)
        at = tl.min(tl.where(values == top[:, None], p[None, :], positions), 1)
        first = tl.where(top > best, at, first)
        best = tl.maximum(top, best)
    rows += n * (3 * channels + 2 * hidden) + c
    tl.store(rows, total / positions, mask=c < channels)
    tl.store(rows + channels, best, mask=c < channels)
    tl.store(index + n * (channels + positions) + c, first, mask=c < channels)


@triton.jit
def squeeze(
    x, rows, index, maps, w0, b0, w1, b1, channels, positions, hidden, span, xn, xc, xp, scale,
    HID: tl.constexpr, CS: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``a``; and ``q``, with the first channel that has the maximum."""
    n, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * span
    x += n * xn
    rows += n * (3 * channels + 2 * hidden)
    maps += n * 3 * positions
    gates = rows + 2 * channels
    j = tl.arange(0, HID)
    of_mean = tl.zeros([HID, CS], tl.float32)
    of_max = tl.zeros([HID, CS], tl.float32)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        w = matrix(w0, j, c, hidden, channels)
        of_mean += w * vector(rows, c, channels)[None, :]
        of_max += w * vector(rows + channels, c, channels)[None, :]
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
    for start in range(first, first + span, BP):
        p = start + tl.arange(0, BP)
        total = tl.zeros([BC, BP], tl.float32)
        best = tl.full([BC, BP], float("-inf"), tl.float32)
        at = tl.zeros([BC, BP], tl.int32)
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            values = load(x, c, p, xc, xp, inside) * vector(gates, c, channels)[:, None]
            total += values
            values = tl.where(inside, values, float("-inf"))
            at = tl.where(values > best, c[:, None], at)
            best = tl.maximum(values, best)
        top = tl.max(best, 0)
        tl.store(maps + p, top, mask=p < positions)
        tl.store(maps + positions + p, tl.sum(total, 0) / channels, mask=p < positions)
        at = tl.min(tl.where(best == top[None, :], at, channels), 0)
        tl.store(index + n * (channels + positions) + channels + p, at, mask=p < positions)


@triton.jit
def convolve(
    maps, kernel, parts, positions, height, width, span, K: tl.constexpr, BT: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``o``, and mean and sum of squared deviations of the span."""
    n, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * span
    maps += n * 3 * positions
    o = maps + 2 * positions
    for start in range(first, first + span, BP):
        p = start + tl.arange(0, BP)
        tl.store(o + p, _convolved(maps, kernel, p, height, width, K, BT), mask=p < positions)
    tl.debug_barrier()
    one = tl.arange(0, 1)
    mean, squares = moments(o + first, one, one < 1, tl.minimum(span, positions - first), 0, 1, 1, 512)
    parts += 2 * (n * tl.num_programs(1) + tl.program_id(1)) + one
    tl.store(parts, mean)
    tl.store(parts + 1, squares)


@triton.jit
def _batch_statistics(parts, positions, span, NP: tl.constexpr):
    """Return mean, variance, and unbiased variance of ``o``."""
    blocks, images = tl.num_programs(1), tl.num_programs(0)
    i = tl.arange(0, NP)
    there = i < images * blocks
    count = tl.where(there, tl.minimum(span, positions - i % blocks * span), 0)
    means = tl.load(parts + 2 * i, mask=there, other=0.0)
    size = tl.sum(count.to(tl.float32), 0)
    mean = tl.sum(means * count, 0) / size
    d = means - mean
    squares = tl.sum(tl.load(parts + 2 * i + 1, mask=there, other=0.0) + count * d * d, 0)
    return mean, squares / size, squares / (size - 1)


@triton.jit
def write(
    x, y, rows, maps, parts, batch, kernel, mean, var, weight, bias, channels, positions, hidden, span, height, width,
    xn, xc, xp, yn, yc, yp, eps, scale,
    K: tl.constexpr, BT: tl.constexpr, NP: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write ``y``; the statistics of the batch, or, without parts of them, ``o``."""
    n, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x += n * xn
    y += n * yn
    maps += n * 3 * positions
    gates = rows + n * (3 * channels + 2 * hidden) + 2 * channels
    if parts is not None:
        m, variance, unbiased = _batch_statistics(parts, positions, span, NP)
        if (n == 0) & (k == 0):
            tl.store(batch, m)
            tl.store(batch + 1, variance)
            tl.store(batch + 2, unbiased)
        r, w, b = 1 / tl.sqrt(variance + eps), tl.load(weight).to(tl.float32), tl.load(bias).to(tl.float32)
    else:
        m, r, w, b = _norm(mean, var, weight, bias, eps)
    for start in range(k * span, k * span + span, BP):
        p = start + tl.arange(0, BP)
        if parts is not None:
            o = vector(maps + 2 * positions, p, positions)
        else:
            o = _convolved(maps, kernel, p, height, width, K, BT)
            tl.store(maps + 2 * positions + p, o, mask=p < positions)
        s = scale * tl.sigmoid((o - m) * r * w + b)
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            values = load(x, c, p, xc, xp, inside) * vector(gates, c, channels)[:, None]
            store(y, c, p, yc, yp, inside, values * s[None, :])


@triton.jit
def reduce(
    x, gy, rows, maps, of_maps, parts, mean, var, weight, bias, channels, positions, hidden, span,
    xn, xc, xp, gn, gc, gp, eps, scale, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``BN(o)``, and the parts of those of the bias and the weight of the norm."""
    n, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x += n * xn
    gy += n * gn
    gates = rows + n * (3 * channels + 2 * hidden) + 2 * channels
    maps += n * 3 * positions
    m, r, w, b = _norm(mean, var, weight, bias, eps)
    of_bias = tl.zeros([BP], tl.float32)
    of_weight = tl.zeros([BP], tl.float32)
    for start in range(k * span, k * span + span, BP):
        p = start + tl.arange(0, BP)
        total = tl.zeros([BC, BP], tl.float32)
        for begin in range(0, channels, BC):
            c = begin + tl.arange(0, BC)
            inside = (c[:, None] < channels) & (p[None, :] < positions)
            of_s = load(gy, c, p, gc, gp, inside) * load(x, c, p, xc, xp, inside)
            total += of_s * vector(gates, c, channels)[:, None]
        normal = (vector(maps + 2 * positions, p, positions) - m) * r
        s = tl.sigmoid(normal * w + b)
        of_norm = tl.sum(total, 0) * scale * s * (1 - s)
        of_bias += of_norm
        of_weight += of_norm * normal
        tl.store(of_maps + (n * 3 + 2) * positions + p, of_norm, mask=p < positions)
    parts += 2 * (n * tl.num_programs(1) + k)
    tl.store(parts, tl.sum(of_bias))
    tl.store(parts + 1, tl.sum(of_weight))


@triton.jit
def _of_o(of_maps, maps, at, inside, positions, m, r, w, of_bias, of_weight):
    """Return the gradient of ``o``, 0 outside: ``w r (g - mean(g) - normal * mean(g normal))``."""
    normal = (tl.load(maps + 2 * positions + at, mask=inside, other=0.0) - m) * r
    of_norm = tl.load(of_maps + 2 * positions + at, mask=inside, other=0.0)
    return tl.where(inside, w * r * (of_norm - of_bias - normal * of_weight), 0.0)


@triton.jit
def _of_gated(gy, of_maps, index, maps, c, p, channels, positions, gc, gp, m, r, w, b, scale):
    """Return a tile of the gradient of ``x'``: ``gy s + dq2 / C``, and ``dq1`` where the maximum was."""
    inside = (c[:, None] < channels) & (p[None, :] < positions)
    s = scale * tl.sigmoid((vector(maps + 2 * positions, p, positions) - m) * r * w + b)
    top = tl.load(index + channels + p, mask=p < positions, other=-1)
    of_max, of_mean = vector(of_maps, p, positions), vector(of_maps + positions, p, positions) / channels
    of_gated = load(gy, c, p, gc, gp, inside) * s[None, :] + of_mean[None, :]
    return tl.where(inside, of_gated + tl.where(top[None, :] == c[:, None], of_max[None, :], 0.0), 0.0)


@triton.jit
def of_gates(
    x, gy, rows, index, maps, of_maps, totals, parts, of_kernel, kernel, mean, var, weight, bias,
    channels, positions, hidden, span, height, width, xn, xc, xp, gn, gc, gp, eps, scale,
    K: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``q``, and the parts of those of ``a`` and of the convolution."""
    n, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    program = n * tl.num_programs(1) + k
    x += n * xn
    gy += n * gn
    index += n * (channels + positions)
    maps += n * 3 * positions
    of_maps += n * 3 * positions
    m, r, w, b = _norm(mean, var, weight, bias, eps)
    of_bias, of_weight = 0.0, 0.0
    if totals is not None:
        size = tl.num_programs(0) * positions
        of_bias, of_weight = tl.load(totals) / size, tl.load(totals + 1) / size
    i, t = tl.arange(0, BK), tl.arange(0, BT)
    of_taps = tl.zeros([BT, BP], tl.float32)
    for start in range(k * span, k * span + span, BP):
        p = start + tl.arange(0, BP)
        at, inside = _neighbours(p, i, height, width, -1, K)
        inside = inside & (i < K * K)[:, None]
        of_o = _of_o(of_maps, maps, at, inside, positions, m, r, w, of_bias, of_weight)
        of_max = tl.sum(of_o * vector(kernel, i, K * K)[:, None], 0)
        of_mean = tl.sum(of_o * vector(kernel + K * K, i, K * K)[:, None], 0)
        tl.store(of_maps + p, of_max, mask=p < positions)
        tl.store(of_maps + positions + p, of_mean, mask=p < positions)
        if of_kernel is not None:
            here = _of_o(of_maps, maps, p, p < positions, positions, m, r, w, of_bias, of_weight)
            of_taps += _taps(maps, p, height, width, K, BT) * here[None, :]
    if of_kernel is not None:
        tl.store(of_kernel + program * (2 * K * K) + t, tl.sum(of_taps, 1), mask=t < 2 * K * K)
    tl.debug_barrier()
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        total = tl.zeros([BC, BP], tl.float32)
        for start in range(k * span, k * span + span, BP):
            p = start + tl.arange(0, BP)
            of_gated = _of_gated(gy, of_maps, index, maps, c, p, channels, positions, gc, gp, m, r, w, b, scale)
            total += of_gated * load(x, c, p, xc, xp, (c[:, None] < channels) & (p[None, :] < positions))
        tl.store(parts + program * channels + c, tl.sum(total, 1), mask=c < channels)


@triton.jit
def write_gradient(
    gy, gx, rows, index, maps, of_maps, parts, of_rows, w0, w1, mean, var, weight, bias,
    channels, positions, hidden, span, gn, gc, gp, on, oc, op, eps, scale,
    HID: tl.constexpr, CS: tl.constexpr, BB: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Write the gradient of ``x``, and the row of gradients."""
    n, k, blocks = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    gy += n * gn
    gx += n * on
    rows += n * (3 * channels + 2 * hidden)
    of_rows += n * 3 * (channels + hidden)
    index += n * (channels + positions)
    maps += n * 3 * positions
    of_maps += n * 3 * positions
    m, r, w, b = _norm(mean, var, weight, bias, eps)
    j, block = tl.arange(0, HID), tl.arange(0, BB)
    of_u = tl.zeros([CS, HID], tl.float32)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        gate = vector(rows + 2 * channels, c, channels)
        of_z = tl.sum(matrix(parts + n * blocks * channels, block, c, blocks, channels), 0) * gate * (1 - gate / scale)
        tl.store(of_rows + c, of_z, mask=c < channels)
        of_u += matrix(w1, c, j, channels, hidden) * of_z[:, None]
    h_mean = vector(rows + 3 * channels, j, hidden)
    h_max = vector(rows + 3 * channels + hidden, j, hidden)
    of_mean = tl.where(h_mean > 0, tl.sum(of_u, 0), 0.0)
    of_max = tl.where(h_max > 0, tl.sum(of_u, 0), 0.0)
    rest = of_rows + 3 * channels + j
    tl.store(rest, tl.maximum(h_mean, 0.0) + tl.maximum(h_max, 0.0), mask=j < hidden)
    tl.store(rest + hidden, of_mean, mask=j < hidden)
    tl.store(rest + 2 * hidden, of_max, mask=j < hidden)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        weights = matrix(w0, j, c, hidden, channels)
        tl.store(of_rows + channels + c, tl.sum(weights * of_mean[:, None], 0), mask=c < channels)
        tl.store(of_rows + 2 * channels + c, tl.sum(weights * of_max[:, None], 0), mask=c < channels)
    tl.debug_barrier()
    for begin in range(0, channels, BC):
        c = begin + tl.arange(0, BC)
        gate = vector(rows + 2 * channels, c, channels)
        shift = vector(of_rows + channels, c, channels) / positions
        of_top = vector(of_rows + 2 * channels, c, channels)
        top = tl.load(index + c, mask=c < channels, other=-1)
        for start in range(k * span, k * span + span, BP):
            p = start + tl.arange(0, BP)
            of_x = _of_gated(gy, of_maps, index, maps, c, p, channels, positions, gc, gp, m, r, w, b, scale)
            of_x = of_x * gate[:, None] + shift[:, None]
            of_x += tl.where(top[:, None] == p[None, :], of_top[:, None], 0.0)
            store(gx, c, p, oc, op, (c[:, None] < channels) & (p[None, :] < positions), of_x)


@triton.jit
def of_layers(
    rows, of_rows, out, images, channels, hidden, HID: tl.constexpr, BC: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the gradients of ``W0``, ``b0``, ``W1`` and ``b1``, sums over images; a program owns a few channels."""
    c, j = tl.program_id(0) * BC + tl.arange(0, BC), tl.arange(0, HID)
    of_w0 = tl.zeros([HID, BC], tl.float32)
    of_w1 = tl.zeros([BC, HID], tl.float32)
    of_b0 = tl.zeros([HID], tl.float32)
    of_b1 = tl.zeros([BC], tl.float32)
    row, of_row = 3 * channels + 2 * hidden, 3 * (channels + hidden)
    for start in range(0, images, BN):
        n = start + tl.arange(0, BN)
        of_c = (n[:, None] < images) & (c[None, :] < channels)
        of_j = (n[:, None] < images) & (j[None, :] < hidden)
        values = rows + n[:, None] * row + c[None, :]
        mean = tl.load(values, mask=of_c, other=0.0)
        top = tl.load(values + channels, mask=of_c, other=0.0)
        of_z = tl.load(of_rows + n[:, None] * of_row + c[None, :], mask=of_c, other=0.0)
        values = of_rows + n[:, None] * of_row + 3 * channels + j[None, :]
        u = tl.load(values, mask=of_j, other=0.0)
        of_mean = tl.load(values + hidden, mask=of_j, other=0.0)
        of_max = tl.load(values + 2 * hidden, mask=of_j, other=0.0)
        of_w0 = tl.dot(tl.trans(of_mean), mean, of_w0, input_precision="ieee")
        of_w0 = tl.dot(tl.trans(of_max), top, of_w0, input_precision="ieee")
        of_w1 = tl.dot(tl.trans(of_z), u, of_w1, input_precision="ieee")
        of_b0 += tl.sum(of_mean + of_max, 0)
        of_b1 += 2 * tl.sum(of_z, 0)
    size = hidden * channels
    inside = (j[:, None] < hidden) & (c[None, :] < channels)
    tl.store(out + j[:, None] * channels + c[None, :], of_w0, mask=inside)
    tl.store(out + size + j, of_b0, mask=j < hidden)
    out += size + hidden
    tl.store(out + c[:, None] * hidden + j[None, :], of_w1, mask=tl.trans(inside))
    tl.store(out + size + c, of_b1, mask=c < channels)
