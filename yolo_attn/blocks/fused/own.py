"""SimAM and SA in one kernel each way: a channel is gated by its own mean and variance; a program owns a few channels.

With ``d = x - mean``: ``y = x G``, ``G = scale * sigmoid(z)``, ``z = (a d + k) d + b``; with ``gamma``: ``y = x + gamma
(x G - x)``. SimAM: ``a = 1 / (4 (v + eps))``, ``k = 0``, ``b = 1/2``. SA: ``z = w u + b``, with ``u = mean`` in the first
half of a group, ``u = weight r d + bias``, ``r = 1 / sqrt(var + eps)``, in the second: ``a = 0``, ``k = w weight r``.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from yolo_attn.blocks.fused import slab
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers
from yolo_attn.blocks.fused.slab import load, moments, store


def _gamma(block: Any) -> list[Tensor | None]:
    return [block.gamma] if block.blends and block.init == "identity" else [None]


def _parameters(block: Any) -> list[Tensor | None]:
    """Return those of the channel gates, of the spatial gates, of the norm, and ``gamma``."""
    gates = [block.channel_weight, block.channel_bias, block.spatial_weight, block.spatial_bias]
    return [*gates, block.norm.weight, block.norm.bias, *_gamma(block)]


def _settings(block: Any) -> list[float]:
    """Return the channels of half a group, whether channels are shuffled, ``eps`` and scale."""
    return [block.channels // block.groups // 2, block.shuffle, block.norm.eps, block.scale]


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shape of the means and the sums of ``d^2``."""
    return [(2, x.shape[0], x.shape[1])]


def _launch(kernel: Any, call: Call, *parts: Any) -> None:
    half, shuffle, eps, scale = call.settings
    bc, bp = slab.narrow_tile(call.channels, call.positions, call.strides[1], call.x.element_size())
    sizes = (call.images * call.channels, call.channels, call.positions, int(half), eps, scale)
    args = (*call.maps, *call.saved, *parts, *[None] * (7 - len(call.parameters)), *call.parameters, *sizes)
    programs = (call.images * triton.cdiv(call.channels, bc),)
    slab.launch(kernel, programs, *args, *call.strides, SHUFFLE=bool(shuffle), BC=bc, BP=bp)


def _forward(call: Call) -> None:
    _launch(_forward_kernel, call)


def _backward(call: Call) -> Gradients:
    half, parts = int(call.settings[0]), call.new(5, call.images * call.channels) if call.needs else None
    _launch(_backward_kernel, call, parts)
    if parts is None:
        return ()
    gamma = None if call.parameters[-1] is None else parts[4].sum()
    if not half:
        return [gamma]
    w, b, weight, bias = parts[:4].view(4, -1, 2 * half).sum(1)
    return [w[:half], b[:half], w[half:], b[half:], weight[half:], bias[half:], gamma]


@triton.jit
def _channels(channels, SHUFFLE: tl.constexpr, BC: tl.constexpr):
    """Return the image, the channels of the result ``(BC,)``, and of the map: a shuffle alternates its halves."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(channels, BC)
    c = (program % blocks).to(tl.int32) * BC + tl.arange(0, BC)
    return program // blocks, c, c % 2 * (channels // 2) + c // 2 if SHUFFLE else c


@triton.jit
def _of_half(first, second, i, half, inside):
    """Return values ``i`` of two vectors one after the other; of a missing one 0."""
    values = tl.load(second + i - half, mask=inside & (i >= half), other=0.0).to(tl.float32)
    if first is not None:
        values += tl.load(first + i, mask=inside & (i < half), other=0.0).to(tl.float32)
    return values


@triton.jit
def _coefficients(m, squares, i, half, inside, positions, eps, cw, cb, sw, sb, weight, bias):
    """Return ``a``, ``k``, ``b``, and ``r``, ``w``, ``weight * r`` and ``u`` where ``d`` is 0."""
    r = tl.where(positions > 1, 1 / tl.sqrt(squares / positions + eps), 0.0)  # 0: d is 0, and its rounding would count
    none = tl.zeros_like(r)
    if cw is None:
        return 0.25 / (squares / tl.maximum(positions - 1, 1) + eps), none, none + 0.5, r, none, none, none
    else:
        w, slope = _of_half(cw, sw, i, half, inside), r * _of_half(None, weight, i, half, inside)
        u = tl.where(i < half, m, _of_half(None, bias, i, half, inside))
        return none, w * slope, w * u + _of_half(cb, sb, i, half, inside), r, w, slope, u


@triton.jit
def _tile(x, s, start, inside, positions, xc, xp, m, a, k, b, BP: tl.constexpr):
    """Return positions, where they are in the map, ``x``, ``d``, and ``sigmoid(z)``."""
    p = start + tl.arange(0, BP)
    here = inside[:, None] & (p[None, :] < positions)
    values = load(x, s, p, xc, xp, here)
    d = values - m[:, None]
    return p, here, values, d, tl.sigmoid((a[:, None] * d + k[:, None]) * d + b[:, None])


@triton.jit
def _forward_kernel(
    x, y, statistics, cw, cb, sw, sb, weight, bias, gamma, slabs, channels, positions, half, eps, scale,
    xn, xc, xp, yn, yc, yp, SHUFFLE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    n, c, s = _channels(channels, SHUFFLE, BC)
    inside, x = c < channels, x + n * xn
    m, squares = moments(x, s, inside, positions, xc, xp, BC, BP)
    a, k, b, _, _, _, _, _ = _coefficients(
        m, squares, s, half, inside, positions, eps, cw, cb, sw, sb, weight, bias)  # fmt: skip
    for start in range(0, positions, BP):
        p, here, values, _, g = _tile(x, s, start, inside, positions, xc, xp, m, a, k, b, BP)
        result = values * scale * g
        if gamma is not None:
            kept = load(x, c, p, xc, xp, here)
            result = kept + tl.load(gamma).to(tl.float32) * (result - kept)
        store(y + n * yn, c, p, yc, yp, here, result)
    tl.store(statistics + n * channels + s, m, mask=inside)
    tl.store(statistics + slabs + n * channels + s, squares, mask=inside)


@triton.jit
def _backward_kernel(
    x, gy, gx, statistics, parts, cw, cb, sw, sb, weight, bias, gamma, slabs, channels, positions, half, eps, scale,
    xn, xc, xp, gn, gc, gp, on, oc, op, SHUFFLE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    n, c, s = _channels(channels, SHUFFLE, BC)
    inside, x, gy = c < channels, x + n * xn, gy + n * gn
    statistics += n * channels + s
    m, squares = tl.load(statistics, mask=inside, other=0.0), tl.load(statistics + slabs, mask=inside, other=0.0)
    i = s % (2 * half) if cw is not None else s
    a, k, b, r, w, slope, u = _coefficients(
        m, squares, i, half, inside, positions, eps, cw, cb, sw, sb, weight, bias)  # fmt: skip
    t = 1.0 if gamma is None else tl.load(gamma).to(tl.float32)
    of_b, of_k, of_a, of_gamma = tl.zeros_like(m), tl.zeros_like(m), tl.zeros_like(m), tl.zeros_like(m)
    for start in range(0, positions, BP):
        p, here, values, d, g = _tile(x, s, start, inside, positions, xc, xp, m, a, k, b, BP)
        of_y = load(gy, c, p, gc, gp, here)
        of_z = t * of_y * values * scale * g * (1 - g)
        of_b += tl.sum(of_z, 1)
        of_k += tl.sum(of_z * d, 1)
        of_a += tl.sum(of_z * d * d, 1)
        if gamma is not None:
            of_gamma += tl.sum(of_y * (values * scale * g - load(x, c, p, xc, xp, here)), 1)
    # The gradient of x is gy G + l (2 a d + k), l that of z, and what comes by the variance, e d, and by the mean, f.
    e = -8 * a * a * of_a / tl.maximum(positions - 1, 1) - k * r * r * of_k / positions
    f = (tl.where(i < half, w, 0.0) * of_b - k * of_b - 2 * a * of_k) / positions
    for start in range(0, positions, BP):
        p, here, values, d, g = _tile(x, s, start, inside, positions, xc, xp, m, a, k, b, BP)
        of_y = t * scale * g * load(gy, c, p, gc, gp, here)
        of_x = of_y + of_y * values * (1 - g) * (2 * a[:, None] * d + k[:, None]) + e[:, None] * d + f[:, None]
        if gamma is not None:
            of_x += (1 - t) * load(gy, s, p, gc, gp, here)
        store(gx + n * on, s, p, oc, op, here, of_x)
    if parts is not None:
        parts += n * channels + s
        if cw is not None:
            tl.store(parts, slope * of_k + u * of_b, mask=inside)
            tl.store(parts + slabs, of_b, mask=inside)
            tl.store(parts + 2 * slabs, w * r * of_k, mask=inside)
            tl.store(parts + 3 * slabs, w * of_b, mask=inside)
        if gamma is not None:
            tl.store(parts + 4 * slabs, of_gamma, mask=inside)


SA = Form(_forward, _backward, _saved, _settings, _parameters)
SimAM = Form(_forward, _backward, _saved, lambda block: [0, 0, block.eps, 1.0], _gamma)
