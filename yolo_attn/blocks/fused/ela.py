"""ELA in one kernel each way; a slab is an image and channels that are whole groups of convolution and GroupNorm.

With the means ``s`` of rows and columns, ``z = conv_k(s)`` within each group and direction,
``y = x * gate(GN(z))_row * gate(GN(z))_column``.
"""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from yolo_attn.blocks.fused import slab, strip
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers
from yolo_attn.blocks.fused.strip import load_strip, multiply, pool, store_strip

_MOST_TAPS = 256
_MOST_CHANNELS = 512
_MOST_VALUES = 16384
_LEAST = 1024  # values of a slab, so that each thread has some
_TILE = 2048  # values of a tile of the convolution


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


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shape of the strips of means, ``z`` and gates."""
    n, channels, height, width = x.shape
    return [(3, n, channels, height + width)]


def _forward(call: Call) -> None:
    (strips,) = call.saved
    programs, sizes, constants = _launch(call)
    args = (*call.maps, *call.parameters, strips, strips[0].numel(), *sizes, *call.strides)
    slab.launch(_forward_kernel, programs, *args, *call.settings[1:], **constants)


def _backward(call: Call) -> Gradients:
    (strips,) = call.saved
    weight, _, norm, _ = call.parameters
    scratch = call.new(2, *strips.shape[1:])
    per_image = [weight.numel(), *[call.channels] * 3]
    of_parameters = call.new(call.images, sum(per_image)) if call.needs else None
    programs, sizes, constants = _launch(call)
    args = (*call.maps, weight, norm, strips, scratch, of_parameters, strips[0].numel(), *sizes, *call.strides)
    slab.launch(_backward_kernel, programs, *args, *call.settings[1:], **constants)
    return () if of_parameters is None else of_parameters.sum(0).split(per_image)


def _launch(call: Call) -> tuple[tuple[int], tuple[int, ...], dict[str, int]]:
    """Return the number of programs, the sizes and the constants of both kernels."""
    (n, channels, height, width), weight = call.x.shape, call.parameters[0]
    group = channels // int(call.settings[0])
    of_slab = math.lcm(weight.shape[1], group)
    least = max(8 if call.strides[1] == 1 else 1, _LEAST // (height * width))  # to read what lies side by side
    while of_slab < least and channels % (2 * of_slab) == 0:
        of_slab *= 2
    tile = strip.tile(of_slab, height, width)
    bg, bl, bt = (triton.next_power_of_2(s) for s in (group, height + width, weight[0].numel()))
    bd = min(triton.next_power_of_2(of_slab), _TILE // (8 * bt))
    convolution = {"CI": weight.shape[1], "K": weight.shape[2], "BD": bd, "BS": min(bl, _TILE // (bd * bt)), "BT": bt}
    constants = {"CS": of_slab, "CG": group, **convolution, "BG": bg, "BL": bl, **tile}
    return (n * (channels // of_slab),), (channels, height, width // tile["UNIT"]), constants


@triton.jit
def _taps(strips, channel, p, shift, inside, height, length):
    """Return strips ``(BD, BS, BT)`` at positions ``p + shift``, 0 beyond the ends of the direction of ``p``.

    Args:
        strips: Strips of the slab.
        channel: Channel that a tap reads, (BD, BT).
        p: Positions, (BS,).
        shift: Distance of each tap, (BT,).
        inside: Which channels and taps there are, (BD, BT).
        height: Length of the first direction.
        length: Length of both.
    """
    at = p[:, None] + shift[None, :]
    along = (at >= 0) & (at < length) & ((at < height) == (p < height)[:, None])
    places = strips + channel[:, None, :] * length + at[None, :, :]
    return tl.load(places, mask=inside[:, None, :] & along[None, :, :], other=0.0)


@triton.jit
def _mean(values, rows, group, height, width):
    """Return the mean over a GroupNorm group and the direction of each position; ``values`` are 0 outside."""
    sums = tl.sum(values, 0)
    of_rows = tl.sum(tl.where(rows, sums, 0.0), 0) / (group * height)
    of_columns = tl.sum(tl.where(rows, 0.0, sums), 0) / (group * width)
    return tl.where(rows, of_rows, of_columns)[None, :]


@triton.jit
def _normal(z, rows, inside, group, height, width, eps):
    """Return the normalised strips of a GroupNorm group, and ``1 / std``."""
    d = tl.where(inside, z - _mean(z, rows, group, height, width), 0.0)
    r = 1 / tl.sqrt(_mean(d * d, rows, group, height, width) + eps)
    return d * r, r


@triton.jit
def _forward_kernel(
    x, y, weight, bias, norm_weight, norm_bias, strips, size, channels, height, units,
    xn, xc, xp, yn, yc, yp, eps, scale, CS: tl.constexpr, CG: tl.constexpr,
    CI: tl.constexpr, K: tl.constexpr, BD: tl.constexpr, BS: tl.constexpr, BT: tl.constexpr,
    BG: tl.constexpr, BL: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    slabs = channels // CS
    n, first = program // slabs, program % slabs * CS
    width = units * UNIT
    length = height + width
    x += n * xn + first * xc
    y += n * yn + first * yc
    means = strips + program * CS * length
    zs, gates = means + size, means + size + size
    pool(x, None, None, means, CS, height, width, xc, xp, 0, 0, BC, BR, BW)
    tl.debug_barrier()
    t = tl.arange(0, BT)
    for start in range(0, CS, BD):  # z_cl = bias_c + sum_ik weight_cik s_(c' + i)(p + k - K/2), t = i K + k
        c = start + tl.arange(0, BD)
        inside = (c < CS)[:, None] & (t < CI * K)[None, :]
        w = tl.load(weight + (first + c)[:, None] * (CI * K) + t[None, :], mask=inside, other=0.0).to(tl.float32)
        channel = (c // CI * CI)[:, None] + (t // K)[None, :]
        for begin in range(0, length, BS):
            q = begin + tl.arange(0, BS)
            z = tl.sum(w[:, None, :] * _taps(means, channel, q, t % K - K // 2, inside, height, length), 2)
            if bias is not None:
                z += tl.load(bias + first + c, mask=c < CS, other=0.0).to(tl.float32)[:, None]
            store_strip(zs, c, q, CS, length, length, z)
    tl.debug_barrier()
    p = tl.arange(0, BL)
    for start in range(0, CS, CG):
        c = start + tl.arange(0, BG)
        of_group = c < start + CG
        z = load_strip(zs, c, p, start + CG, length, length)
        normal, _ = _normal(z, p < height, of_group[:, None] & (p < length)[None, :], CG, height, width, eps)
        w = tl.load(norm_weight + first + c, mask=of_group, other=0.0).to(tl.float32)
        b = tl.load(norm_bias + first + c, mask=of_group, other=0.0).to(tl.float32)
        gate = scale * tl.sigmoid(w[:, None] * normal + b[:, None])
        store_strip(gates, c, p, start + CG, length, length, gate)
    tl.debug_barrier()
    multiply(x, gates, None, y, CS, height, width, xc, xp, yc, yp, BC, BR, BW)


@triton.jit
def _backward_kernel(
    x, gy, gx, weight, norm_weight, strips, scratch, of_parameters, size, channels, height, units,
    xn, xc, xp, gn, gc, gp, on, oc, op, eps, scale, CS: tl.constexpr, CG: tl.constexpr,
    CI: tl.constexpr, K: tl.constexpr, BD: tl.constexpr, BS: tl.constexpr, BT: tl.constexpr,
    BG: tl.constexpr, BL: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    slabs = channels // CS
    n, first = program // slabs, program % slabs * CS
    width = units * UNIT
    length = height + width
    x += n * xn + first * xc
    gy += n * gn + first * gc
    gx += n * on + first * oc
    means = strips + program * CS * length
    zs, gates = means + size, means + size + size
    of_strips = scratch + program * CS * length  # gradients of the gates, later of the means
    of_zs = of_strips + size
    pool(x, gy, gates, of_strips, CS, height, width, xc, xp, gc, gp, BC, BR, BW)
    tl.debug_barrier()
    if of_parameters is not None:
        of_weight = of_parameters + n * channels * (CI * K + 3)
        of_bias = of_weight + channels * CI * K + first
    p = tl.arange(0, BL)
    for start in range(0, CS, CG):
        c = start + tl.arange(0, BG)
        of_group = c < start + CG
        rows, inside = p < height, of_group[:, None] & (p < length)[None, :]
        z = load_strip(zs, c, p, start + CG, length, length)
        normal, r = _normal(z, rows, inside, CG, height, width, eps)
        s = load_strip(gates, c, p, start + CG, length, length) / scale
        of_logit = load_strip(of_strips, c, p, start + CG, length, length) * scale * s * (1 - s)
        w = tl.load(norm_weight + first + c, mask=of_group, other=0.0).to(tl.float32)
        of_normal = w[:, None] * of_logit
        shift = _mean(of_normal, rows, CG, height, width)
        slope = _mean(of_normal * normal, rows, CG, height, width)
        of_z = tl.where(inside, r * (of_normal - shift - normal * slope), 0.0)
        store_strip(of_zs, c, p, start + CG, length, length, of_z)
        if of_parameters is not None:
            tl.store(of_bias + c, tl.sum(of_z, 1), mask=of_group)
            tl.store(of_bias + channels + c, tl.sum(of_logit * normal, 1), mask=of_group)
            tl.store(of_bias + 2 * channels + c, tl.sum(of_logit, 1), mask=of_group)
    tl.debug_barrier()
    t = tl.arange(0, BT)
    for start in range(0, CS, BD):
        c = start + tl.arange(0, BD)
        inside = (c < CS)[:, None] & (t < CI * K)[None, :]
        channel = (c // CI * CI)[:, None] + (t // K)[None, :]
        at = (first + channel) * (CI * K) + (c % CI * K)[:, None] + (t % K)[None, :]  # as the channel sees c
        w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
        total = tl.zeros([BD, BT], tl.float32)
        for begin in range(0, length, BS):
            q = begin + tl.arange(0, BS)
            of_mean = tl.sum(w[:, None, :] * _taps(of_zs, channel, q, K // 2 - t % K, inside, height, length), 2)
            store_strip(of_strips, c, q, CS, length, length, of_mean)
            if of_parameters is not None:
                of_z = load_strip(of_zs, c, q, CS, length, length)
                total += tl.sum(of_z[:, :, None] * _taps(means, channel, q, t % K - K // 2, inside, height, length), 1)
        if of_parameters is not None:
            tl.store(of_weight + (first + c)[:, None] * (CI * K) + t[None, :], total, mask=inside)
    tl.debug_barrier()
    multiply(gy, gates, of_strips, gx, CS, height, width, gc, gp, oc, op, BC, BR, BW)


ELA = Form(
    _forward,
    _backward,
    _saved,
    settings=lambda block: [block.norm.num_groups, block.norm.eps, block.scale],
    refuses=_refuses,
)
