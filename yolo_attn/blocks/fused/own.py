"""SimAM and SA in one kernel each way: a channel is gated by its own mean and variance; a program owns a few channels.

With ``d = x - m`` and the coefficients ``a``, ``k``, ``b`` of a channel: ``y = x G``, ``G = scale * sigmoid(z)``,
``z = (a d + k) d + b``; with ``gamma``: ``y = x + gamma (x G - x)``.
SimAM: ``a = 1 / (4 (v + eps))``, ``k = 0``, ``b = 1/2``.
SA: ``a = 0``, with ``r = 1 / sqrt(var + eps)``; first half of a group: ``k = 0``, ``b = w m + b``; second half:
``k = w' weight r``, ``b = w' bias + b'``.
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
    found = [block.channel_weight, block.channel_bias, block.spatial_weight, block.spatial_bias]
    return [*found, block.norm.weight, block.norm.bias, *_gamma(block)]


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
    half = int(call.settings[0])
    parts = call.new(5 if half else 1, call.images * call.channels) if call.needs else None
    _launch(_backward_kernel, call, parts)
    if parts is None:
        return ()
    if not half:
        return [parts.sum()]
    gamma, w, b, weight, bias = parts.view(5, -1, 2 * half).sum(1)
    found = [w[:half], b[:half], w[half:], b[half:], weight[half:], bias[half:]]
    return found if call.parameters[6] is None else [*found, gamma.sum()]


@triton.jit
def _channels(channels, SHUFFLE: tl.constexpr, BC: tl.constexpr):
    """Return the image, the channels of the result ``(BC,)``, and of the map: a shuffle alternates its halves."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(channels, BC)
    c = (program % blocks).to(tl.int32) * BC + tl.arange(0, BC)
    return program // blocks, c, c % 2 * (channels // 2) + c // 2 if SHUFFLE else c


@triton.jit
def _coefficients(m, squares, s, inside, cw, cb, sw, sb, weight, bias, positions, half, eps):
    """Return ``a``, ``k``, ``b``, ``r``, and ``w``, ``w'``, weight and bias, 0 in the half that has none."""
    r = tl.where(positions > 1, 1 / tl.sqrt(squares / positions + eps), 0.0)  # 0: d is 0, and its rounding would count
    a = tl.zeros_like(r)
    w, scale, of_norm, of_bias, b = a, a, a, a, a + 0.5
    if cw is None:
        a += 0.25 / (squares / tl.maximum(positions - 1, 1) + eps)
    else:
        i = s % (2 * half)
        first, second = inside & (i < half), inside & (i >= half)
        w = tl.load(cw + i, mask=first, other=0.0).to(tl.float32)
        scale = tl.load(sw + i - half, mask=second, other=0.0).to(tl.float32)
        of_norm = tl.load(weight + i - half, mask=second, other=0.0).to(tl.float32)
        of_bias = tl.load(bias + i - half, mask=second, other=0.0).to(tl.float32)
        b = w * m + scale * of_bias + tl.load(cb + i, mask=first, other=0.0).to(tl.float32)
        b += tl.load(sb + i - half, mask=second, other=0.0).to(tl.float32)
    return a, scale * of_norm * r, b, r, w, scale, of_norm, of_bias


@triton.jit
def _forward_kernel(
    x, y, statistics, cw, cb, sw, sb, weight, bias, gamma, slabs, channels, positions, half, eps, scale,
    xn, xc, xp, yn, yc, yp, SHUFFLE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    n, c, s = _channels(channels, SHUFFLE, BC)
    inside = c < channels
    x += n * xn
    y += n * yn
    m, squares = moments(x, s, inside, positions, xc, xp, BC, BP)
    a, k, b, _, _, _, _, _ = _coefficients(
        m, squares, s, inside, cw, cb, sw, sb, weight, bias, positions, half, eps)  # fmt: skip
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        here = inside[:, None] & (p[None, :] < positions)
        values = load(x, s, p, xc, xp, here)
        d = values - m[:, None]
        result = values * scale * tl.sigmoid((a[:, None] * d + k[:, None]) * d + b[:, None])
        if gamma is not None:
            kept = load(x, c, p, xc, xp, here)
            result = kept + tl.load(gamma).to(tl.float32) * (result - kept)
        store(y, c, p, yc, yp, here, result)
    tl.store(statistics + n * channels + s, m, mask=inside)
    tl.store(statistics + slabs + n * channels + s, squares, mask=inside)


@triton.jit
def _backward_kernel(
    x, gy, gx, statistics, parts, cw, cb, sw, sb, weight, bias, gamma, slabs, channels, positions, half, eps, scale,
    xn, xc, xp, gn, gc, gp, on, oc, op, SHUFFLE: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    n, c, s = _channels(channels, SHUFFLE, BC)
    inside = c < channels
    x += n * xn
    gy += n * gn
    gx += n * on
    m = tl.load(statistics + n * channels + s, mask=inside, other=0.0)
    squares = tl.load(statistics + slabs + n * channels + s, mask=inside, other=0.0)
    a, k, b, r, w, of_gate, of_norm, of_bias = _coefficients(
        m, squares, s, inside, cw, cb, sw, sb, weight, bias, positions, half, eps)  # fmt: skip
    t = 1.0 if gamma is None else tl.load(gamma).to(tl.float32)
    # l is the gradient of z. The gradient of x is gy G + l (2 a d + k) + e d + f: e is that through the variance, and
    # f that through the mean.
    sum_l = tl.zeros([BC], tl.float32)
    sum_ld = tl.zeros([BC], tl.float32)
    sum_ldd = tl.zeros([BC], tl.float32)
    of_gamma = tl.zeros([BC], tl.float32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        here = inside[:, None] & (p[None, :] < positions)
        values = load(x, s, p, xc, xp, here)
        of_y = load(gy, c, p, gc, gp, here)
        d = values - m[:, None]
        g = tl.sigmoid((a[:, None] * d + k[:, None]) * d + b[:, None])
        of_z = t * of_y * values * scale * g * (1 - g)
        sum_l += tl.sum(of_z, 1)
        sum_ld += tl.sum(of_z * d, 1)
        if cw is None:
            sum_ldd += tl.sum(of_z * d * d, 1)
        if gamma is not None:
            of_gamma += tl.sum(of_y * (values * scale * g - load(x, c, p, xc, xp, here)), 1)
    e = -8 * a * a * sum_ldd / tl.maximum(positions - 1, 1) - k * r * r * sum_ld / positions
    f = ((w - k) * sum_l - 2 * a * sum_ld) / positions
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        here = inside[:, None] & (p[None, :] < positions)
        values = load(x, s, p, xc, xp, here)
        of_y = t * load(gy, c, p, gc, gp, here)
        d = values - m[:, None]
        g = tl.sigmoid((a[:, None] * d + k[:, None]) * d + b[:, None])
        of_z = of_y * values * scale * g * (1 - g)
        of_x = of_y * scale * g + of_z * (2 * a[:, None] * d + k[:, None]) + e[:, None] * d + f[:, None]
        if gamma is not None:
            of_x += (1 - t) * load(gy, s, p, gc, gp, here)
        store(gx, s, p, oc, op, here, of_x)
    if parts is not None:
        parts += n * channels + s
        if gamma is not None:
            tl.store(parts, of_gamma, mask=inside)
        if cw is not None:
            second = s % (2 * half) >= half
            tl.store(parts + slabs, tl.where(second, of_norm * r * sum_ld + of_bias * sum_l, m * sum_l), mask=inside)
            tl.store(parts + 2 * slabs, sum_l, mask=inside)
            tl.store(parts + 3 * slabs, of_gate * r * sum_ld, mask=inside)
            tl.store(parts + 4 * slabs, of_gate * sum_l, mask=inside)


SA = Form(_forward, _backward, _saved, _settings, _parameters)
SimAM = Form(_forward, _backward, _saved, lambda block: [0, 0, block.eps, 1.0], _gamma)
