"""ELA in one kernel each way; a slab is an image and channels that are whole groups of convolution and GroupNorm.

With the means ``s`` of rows and columns, ``z = conv_k(s)`` within each group and direction,
``y = x * gate(GN(z))_row * gate(GN(z))_column``.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from yolo_attn.blocks.fused import strip
from yolo_attn.blocks.fused.form import Call, Form, Gradients
from yolo_attn.blocks.fused.slab import vector
from yolo_attn.blocks.fused.strip import load_strip, multiply, pool, slab_of, store_strip

_MOST_TAPS = 256
_MOST_CHANNELS = 512
_MOST_VALUES = 16384
_LEAST = 1024  # values of a slab, so that each thread has some
_TILE = 4096  # values of a tile of the gradient of the convolution


def _refuses(block: Any, x: Tensor) -> str | None:
    """Refuse what leaves few slabs with much to compute, and groups whose strips do not fit a tile."""
    width, kernel = block.conv.weight.shape[1:]
    if width * kernel > _MOST_TAPS:
        return f"its convolution adds {width} channels x {kernel} positions, more than {_MOST_TAPS} products"
    group = block.channels // block.norm.num_groups
    if math.lcm(width, group) > _MOST_CHANNELS:
        return f"its groups together have {math.lcm(width, group)} channels, more than {_MOST_CHANNELS}"
    values = triton.next_power_of_2(group) * triton.next_power_of_2(x.shape[2] + x.shape[3])
    return None if values <= _MOST_VALUES else f"its strips take {values} values a group, more than {_MOST_VALUES}"


def _backward(call: Call) -> Gradients:
    weight, _, norm_weight, _ = call.parameters
    parts = [weight.numel(), *[call.channels] * 3]
    of_parameters = call.new(2 * call.images, sum(parts))  # from rows, and from columns
    _launch(_backward_kernel, call, weight, norm_weight, *call.saved, torch.empty_like(call.saved[0]), of_parameters)
    return of_parameters.sum(0).split(parts) if call.needs else ()


def _launch(kernel: Any, call: Call, *args: Any) -> None:
    groups, eps, scale = call.settings
    constants = _constants(*call.x.shape[1:], *call.parameters[0].shape[1:], int(groups), call.strides[1] == 1)
    strip.launch(kernel, call, constants, *call.maps, *call.strides, *args, eps, scale)


@functools.lru_cache(1000)
def _constants(channels: int, height: int, width: int, ci: int, k: int, groups: int, last: bool) -> dict[str, int]:
    """Return the constants of both kernels; ``last`` is whether channels come last in memory."""
    group = channels // groups
    cs = math.lcm(ci, group)
    least = max(8 if last else 1, _LEAST // (height * width))  # to read what lies side by side
    while cs < least and channels % (2 * cs) == 0:
        cs *= 2
    bg, bl, bk = (triton.next_power_of_2(size) for size in (group, max(height, width), k))
    bd = min(triton.next_power_of_2(cs), max(_TILE // (bl * bk), 1))
    return {"CG": group, "CI": ci, "K": k, "BG": bg, "BL": bl, "BD": bd, "BK": bk} | strip.tile(cs, height, width)


@triton.jit
def _taps(strips, c, p, shift, inside, count, length):
    """Return ``(BD, BL, BK)``: strips of channels ``c`` at the distance of each tap from ``p``, 0 beyond the ends."""
    at = p[:, None] + shift[None, :]
    inside = inside[:, None, :] & ((at >= 0) & (at < count))[None, :, :]
    return tl.load(strips + c[:, None, None] * length + at[None, :, :], mask=inside, other=0.0)


@triton.jit
def _convolve(strips, weight, step, c, p, shift, inside, count, length, CI: tl.constexpr):
    """Return ``(BD, BL)``: for channels ``c`` the sum over channels of their group, and taps, of weight times strip."""
    z = tl.zeros([c.shape[0], p.shape[0]], tl.float32)
    for i in range(CI):
        w = tl.load(weight + i * step, mask=inside, other=0.0).to(tl.float32)
        z += tl.sum(w[:, None, :] * _taps(strips, c // CI * CI + i, p, shift, inside, count, length), 2)
    return z


@triton.jit
def _normal(z, inside, size, eps):
    """Return the normalised strips of a GroupNorm group and direction, and ``1 / std``; ``z`` is 0 outside."""
    d = tl.where(inside, z - tl.sum(z) / size, 0.0)
    r = 1 / tl.sqrt(tl.sum(d * d) / size + eps)
    return d * r, r


@triton.jit
def _forward_kernel(
    channels, height, units, x, y, xn, xc, xp, yn, yc, yp, weight, bias, norm_weight, norm_bias, strips, eps, scale,
    CG: tl.constexpr, CI: tl.constexpr, K: tl.constexpr, BG: tl.constexpr, BL: tl.constexpr, BD: tl.constexpr,
    BK: tl.constexpr, CS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program, n, first, width = slab_of(channels, units, CS, UNIT)
    length = height + width
    x, y = x + n * xn + first * xc, y + n * yn + first * yc
    size = CS * length
    means = strips + program * size * 3
    zs, gates = means + size, means + size + size
    pool(x, means, CS, height, width, xc, xp, BC, BR, BW)
    tl.debug_barrier()
    p, k = tl.arange(0, BL), tl.arange(0, BK)
    for start in range(0, CS, BD):  # z_cl = bias_c + sum_ik weight_cik s_(c' + i)(l + k - K//2)
        c = start + tl.arange(0, BD)
        inside = (c < CS)[:, None] & (k < K)[None, :]
        at = weight + ((first + c) * CI * K)[:, None] + k[None, :]
        for side in range(2):
            offset, count = side * height, tl.where(side == 0, height, width)
            z = _convolve(means + offset, at, K, c, p, k - K // 2, inside, count, length, CI)
            if bias is not None:
                z += vector(bias + first, c, CS)[:, None]
            store_strip(zs + offset, c, p, CS, count, length, z)
    tl.debug_barrier()
    for start in range(0, CS, CG):
        c, end = start + tl.arange(0, BG), start + CG
        gain, shift = vector(norm_weight + first, c, end)[:, None], vector(norm_bias + first, c, end)[:, None]
        for side in range(2):
            offset, count = side * height, tl.where(side == 0, height, width)
            z = load_strip(zs + offset, c, p, end, count, length)
            normal, _ = _normal(z, (c < end)[:, None] & (p < count)[None, :], CG * count, eps)
            store_strip(gates + offset, c, p, end, count, length, scale * tl.sigmoid(gain * normal + shift))
    tl.debug_barrier()
    multiply(x, gates, None, y, CS, height, width, xc, xp, yc, yp, BC, BR, BW)


@triton.jit
def _backward_kernel(
    channels, height, units, x, gy, gx, xn, xc, xp, gn, gc, gp, on, oc, op, weight, norm_weight, strips, scratch,
    of_parameters, eps, scale,
    CG: tl.constexpr, CI: tl.constexpr, K: tl.constexpr, BG: tl.constexpr, BL: tl.constexpr, BD: tl.constexpr,
    BK: tl.constexpr, CS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program, n, first, width = slab_of(channels, units, CS, UNIT)
    length = height + width
    x, gy, gx = x + n * xn + first * xc, gy + n * gn + first * gc, gx + n * on + first * oc
    size = CS * length
    means, of_strips = strips + program * size * 3, scratch + program * size * 3
    zs, gates, of_zs = means + size, means + size + size, of_strips + size
    pool(x, of_strips, CS, height, width, xc, xp, BC, BR, BW, gy, gates, gc, gp, scale)  # later those of the means
    tl.debug_barrier()
    p, k = tl.arange(0, BL), tl.arange(0, BK)
    for start in range(0, CS, CG):
        c, end = start + tl.arange(0, BG), start + CG
        gain = vector(norm_weight + first, c, end)[:, None]
        for side in range(2):
            offset, count = side * height, tl.where(side == 0, height, width)
            inside = (c < end)[:, None] & (p < count)[None, :]
            normal, r = _normal(load_strip(zs + offset, c, p, end, count, length), inside, CG * count, eps)
            of_logit = load_strip(of_strips + offset, c, p, end, count, length)
            of_normal = gain * of_logit
            shift, slope = tl.sum(of_normal) / (CG * count), tl.sum(of_normal * normal) / (CG * count)
            of_z = tl.where(inside, r * (of_normal - shift - normal * slope), 0.0)
            store_strip(of_zs + offset, c, p, end, count, length, of_z)
            of_bias = of_parameters + (2 * n + side) * channels * (CI * K + 3) + channels * CI * K + first
            tl.store(of_bias + c, tl.sum(of_z, 1), mask=c < end)
            tl.store(of_bias + channels + c, tl.sum(of_logit * normal, 1), mask=c < end)
            tl.store(of_bias + 2 * channels + c, tl.sum(of_logit, 1), mask=c < end)
    tl.debug_barrier()
    for start in range(0, CS, BD):
        c = start + tl.arange(0, BD)
        inside = (c < CS)[:, None] & (k < K)[None, :]
        at = weight + (((first + c // CI * CI) * CI + c % CI) * K)[:, None] + k[None, :]  # as those see c that it sees
        for side in range(2):
            offset, count = side * height, tl.where(side == 0, height, width)
            of_mean = _convolve(of_zs + offset, at, CI * K, c, p, K // 2 - k, inside, count, length, CI)
            store_strip(of_strips + offset, c, p, CS, count, length, of_mean)
            of_z = load_strip(of_zs + offset, c, p, CS, count, length)
            of_weight = of_parameters + (2 * n + side) * channels * (CI * K + 3)
            of_weight += ((first + c) * CI * K)[:, None] + k[None, :]
            for i in range(CI):
                taps = _taps(means + offset, c // CI * CI + i, p, k - K // 2, inside, count, length)
                tl.store(of_weight + i * K, tl.sum(of_z[:, :, None] * taps, 1), mask=inside)
    tl.debug_barrier()
    multiply(gy, gates, of_strips, gx, CS, height, width, gc, gp, oc, op, BC, BR, BW)


ELA = Form(
    lambda call: _launch(_forward_kernel, call, *call.parameters, *call.saved),
    _backward,
    saved=lambda x, parameters, settings: [(*x.shape[:2], 3, x.shape[2] + x.shape[3])],  # means, z and gates
    settings=lambda block: [block.norm.num_groups, block.norm.eps, block.scale],
    refuses=_refuses,
)
