"""SimAM and SA in one kernel each way: a channel is gated by its own mean and variance; a program owns a few channels.

With ``d = x - m``: ``y = x G``, ``G = scale * sigmoid(z)``, ``z = (a d + k) d + b``; with ``gamma``:
``y = x + gamma (x G - x)``. SimAM: ``a = 1 / (4 (v + eps))``, ``k = 0``, ``b = 1/2``. SA: ``a = 0``, ``z = w u + b``;
``u = m`` in the first half of a group, in the second ``u = weight r d + bias`` with ``r = 1 / sqrt(var + eps)``.
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


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    return [(2, x.shape[0], x.shape[1])]  # means, and sums of d^2


def _launch(kernel: Any, call: Call, *parts: Any) -> None:
    half, shuffle, eps, scale = call.settings  # channels of half a group
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
def _at(start, i, inside):
    return tl.load(start + i, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _coefficients(m, squares, s, half, inside, positions, eps, cw, cb, sw, sb, weight, bias):
    """Return ``a``, ``k``, ``b``, ``r``; of SA ``w``, ``weight r``, ``u`` for ``d = 0``, and ``w`` where ``u = m``."""
    r = tl.where(positions > 1, 1 / tl.sqrt(squares / positions + eps), 0.0)  # 0: d is 0, and its rounding would count
    none = tl.zeros_like(r)
    if cw is None:
        return 0.25 / (squares / tl.maximum(positions - 1, 1) + eps), none, none + 0.5, r, none, none, none, none
    else:
        i = s % (2 * half)
        first, second = inside & (i < half), inside & (i >= half)
        of_mean, slope = _at(cw, i, first), r * _at(weight, i - half, second)
        w, u = of_mean + _at(sw, i - half, second), tl.where(first, m, _at(bias, i - half, second))
        b = w * u + _at(cb, i, first) + _at(sb, i - half, second)
        return none, w * slope, b, r, w, slope, u, of_mean


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
        p, here, values, _d, g = _tile(x, s, start, inside, positions, xc, xp, m, a, k, b, BP)
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
    m, squares = _at(statistics, 0, inside), _at(statistics, slabs, inside)
    a, k, b, r, w, slope, u, of_mean = _coefficients(
        m, squares, s, half, inside, positions, eps, cw, cb, sw, sb, weight, bias)  # fmt: skip
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
    f = ((of_mean - k) * of_b - 2 * a * of_k) / positions
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


SA = Form(
    _forward,
    _backward,
    _saved,
    lambda block: [block.channels // block.groups // 2, block.shuffle, block.norm.eps, block.scale],
    _parameters,
)
SimAM = Form(_forward, _backward, _saved, lambda block: [0, 0, block.eps, 1.0], _gamma)
