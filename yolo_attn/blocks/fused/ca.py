"""CA in three kernels each way: BatchNorm's statistics stand between what a slab gives and what it gets.

With the means ``s`` of rows and columns, ``z = W1 s + b1``, ``u = BN(z)``, ``f = h_swish(u)``, all ``(N, M, H + W)``,
and ``y = x * gate(Wh f + bh)_row * gate(Ww f + bw)_column``. A slab is an image and some channels; it gives its share
of ``W1 s``, or of the gradient of ``f``. The second kernel adds the shares, for each image and hidden channel.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from yolo_attn.blocks.fused import slab, strip
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers, parameters_of
from yolo_attn.blocks.fused.slab import matrix, strided, vector
from yolo_attn.blocks.fused.strip import load_strip, multiply, pool, slab_of, store_strip

_WIDEST = 64
_LONGEST = 4096
_TILE = 4096
_ENOUGH = 256  # programs, so that every processor has one or two


def _refuses(block: Any, x: Tensor) -> str | None:
    """Refuse other norms than BatchNorm2d as it is by default, and what does not fit a tile."""
    norm, hidden, length = block.norm, block.reduce.out_channels, x.shape[2] + x.shape[3]
    if type(norm) not in (nn.BatchNorm2d, nn.Identity):
        return f"its norm is {type(norm).__name__}, which the kernels do not compute"
    if isinstance(norm, nn.BatchNorm2d) and not (norm.affine and norm.track_running_stats and norm.momentum):
        return "its BatchNorm2d has no weight, no running statistics or no momentum"
    if hidden > _WIDEST:
        return f"its hidden width is {hidden}, more than {_WIDEST}"
    return f"height and width are together {length}, more than {_LONGEST}" if length > _LONGEST else None


def _parameters(block: Any) -> list[Tensor | None]:
    """Return weights and biases of ``W1``, BatchNorm, ``Wh`` and ``Ww``, and the running statistics where used."""
    norm = block.norm
    own = parameters_of(norm) or [None, None]
    running = [None, None] if norm.training or own[0] is None else [norm.running_mean, norm.running_var]
    return [*parameters_of(block.reduce), *own, *parameters_of(block.conv_h), *parameters_of(block.conv_w), *running]


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes: strips of means and gates; ``z``; and its mean, unbiased variance and ``1 / std``."""
    n, channels, height, width = x.shape
    hidden, length = parameters[0].shape[0], height + width
    return [(n, channels, 2, length), (n, hidden, length), (3, hidden)]


def _forward(call: Call) -> None:
    strips, z, moments = call.saved
    w1, b1, *rest = call.parameters
    slabs, adding = _constants(*call.x.shape, call.strides[1] == 1, z.shape[1])
    blocks = call.channels // slabs["CS"]
    shares, sums = call.new(blocks * z.numel()), call.new(2, *z.shape[:2])
    args = (None, 0, 0, 0, strips, strips, w1, w1, call.channels, 1, shares, 1.0)
    strip.launch(_pool, call, slabs, call.x, *call.strides[:3], *args)
    slab.launch(_add, z.shape[:2], blocks, z.shape[2], shares, b1, None, None, None, None, z, sums, **adding)
    args = (*rest, sums, z, moments, strips, *call.settings)
    strip.launch(_write, call, slabs, call.images, *call.maps, *call.strides, *args)


def _update(block: Any, saved: Sequence[Tensor]) -> None:
    """Update the running statistics as BatchNorm does."""
    norm = block.norm
    if norm.training and not isinstance(norm, nn.Identity):
        mean, variance = (m.to(norm.running_mean.dtype) for m in saved[2][:2])
        torch._foreach_lerp_([norm.running_mean, norm.running_var], [mean, variance], norm.momentum)
        norm.num_batches_tracked.add_(1)


def _backward(call: Call) -> Gradients:
    strips, z, moments = call.saved
    w1, _, weight, bias, wh, _, ww, _, running, _ = call.parameters
    (n, hidden, length), channels = z.shape, call.channels
    slabs, adding = _constants(*call.x.shape, call.strides[1] == 1, hidden)
    shares, of_strips = call.new(channels // slabs["CS"] * z.numel()), torch.empty_like(strips)
    of_u, sums = torch.empty_like(z), call.new(2, n, hidden)
    parts = [hidden * channels, *[hidden] * 3, *[hidden * channels, channels] * 2]
    of_parameters = call.new(n, sum(parts))
    args: Any = (strips, of_strips, wh, ww, 1, hidden, shares, call.settings[0])
    strip.launch(_pool, call, slabs, call.x, *call.strides[:3], call.maps[1], *call.strides[3:6], *args)
    args = (shares, None, z, moments, weight, bias, of_u, sums)
    slab.launch(_add, (n, hidden), channels // slabs["CS"], length, *args, **adding)
    args = (w1, weight, bias, of_u, z, moments, sums, strips, of_strips, of_parameters)
    constants = slabs | {"BATCH": weight is not None and running is None}
    strip.launch(_backward_write, call, constants, n, *call.maps[1:], *call.strides[3:], *args)
    return of_parameters.sum(0).split(parts) if call.needs else ()


@functools.lru_cache(1000)
def _constants(
    n: int, channels: int, height: int, width: int, last: bool, hidden: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the constants of the kernels of slabs, and of those that add; ``last`` is whether channels come last."""
    least, cs = 8 if last else 4, 16
    while channels % cs or (cs > least and n * channels < _ENOUGH * cs and cs * height * width > 1024):
        cs //= 2
    bm, bl = triton.next_power_of_2(hidden), triton.next_power_of_2(height + width)
    bs = min(triton.next_power_of_2(max(height, width)), _TILE // (bm * cs))
    slabs = {"M": hidden, "BM": bm, "BS": bs} | strip.tile(cs, height, width)
    return slabs, {"M": hidden, "BB": min(triton.next_power_of_2(channels // cs), max(_TILE // bl, 1)), "BL": bl}


@triton.jit
def _sum(values, i, j, rows, columns, stride, center=None):
    """Return the sums over the rows of a matrix, ``i`` of them at a time, for columns ``j``; of squared deviations."""
    total = tl.zeros(j.shape, tl.float32)
    for start in range(0, rows, i.shape[0]):
        part = load_strip(values, start + i, j, rows, columns, stride)
        if center is not None:
            part = tl.where((start + i < rows)[:, None], part - center[None, :], 0.0)
            part *= part
        total += tl.sum(part, 0)
    return total


@triton.jit
def _hidden(z, moments, weight, bias, m, p, end, length, M: tl.constexpr):
    """Return ``z`` normalised, and ``u``, of hidden channels ``m`` at positions ``p``."""
    mean, r = vector(moments, m, M)[:, None], vector(moments + 2 * M, m, M)[:, None]
    normal = (load_strip(z, m, p, M, end, length) - mean) * r
    if weight is None:
        return normal, normal
    return normal, normal * vector(weight, m, M)[:, None] + vector(bias, m, M)[:, None]


@triton.jit
def _h_swish(u):
    return u * tl.minimum(tl.maximum(u + 3, 0.0), 6.0) / 6


@triton.jit
def _pool(
    channels, height, units, x, xn, xc, xp, gy, gn, gc, gp, strips, pooled, weight_h, weight_w, of_m, of_c, shares,
    scale, M: tl.constexpr, BM: tl.constexpr, BS: tl.constexpr,
    CS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    """Write means, or gradients of logits, and the share of their product with ``W1``, or with ``Wh`` and ``Ww``."""
    program, n, first, width = slab_of(channels, units, CS, UNIT)
    length = height + width
    gates, pooled = strips + (program * 2 + 1) * CS * length, pooled + program * 2 * CS * length
    x += n * xn + first * xc
    if gy is not None:
        gy += n * gn + first * gc
    pool(x, pooled, CS, height, width, xc, xp, BC, BR, BW, gy, gates, gc, gp, scale)
    tl.debug_barrier()
    c, m = tl.arange(0, CS), tl.arange(0, BM)
    for side in tl.static_range(2):
        weight, count = (weight_h, height) if side == 0 else (weight_w, width)
        w = strided(weight, m, first + c, M, channels, of_m, of_c)
        for start in range(0, count, BS):
            p = start + tl.arange(0, BS)
            values = load_strip(pooled + side * height, c, p, CS, count, length)
            share = tl.sum(w[:, :, None] * values[None, :, :], 1)
            store_strip(shares + program * M * length + side * height, m, p, M, count, length, share)


@triton.jit
def _add(
    blocks, length, shares, b1, z, moments, norm_weight, norm_bias, out, sums,
    M: tl.constexpr, BB: tl.constexpr, BL: tl.constexpr,
):  # fmt: skip
    """Write ``z``, its mean and squared deviations; or the gradient of ``u``, its sum and that of ``u * z``'s."""
    n, m, p = tl.program_id(0).to(tl.int64), tl.program_id(1) + tl.arange(0, 1), tl.arange(0, BL)
    shares += (n * blocks * M + tl.program_id(1)) * length
    total = _sum(shares, tl.arange(0, BB), p, blocks, length, M * length)[None, :]
    if b1 is not None:
        total = tl.where(p < length, total + vector(b1, m, M)[:, None], 0.0)
        first = tl.sum(total, 1) / length
        d = tl.where(p < length, total - first[:, None], 0.0)
        second = tl.sum(d * d, 1)
    else:
        normal, u = _hidden(z + n * M * length, moments, norm_weight, norm_bias, m, p, length, length, M)
        total *= tl.where(u < -3, 0.0, tl.where(u <= 3, u / 3 + 0.5, 1.0))
        first, second = tl.sum(total, 1), tl.sum(total * normal, 1)
    store_strip(out + n * M * length, m, p, M, length, length, total)
    tl.store(sums + n * M + m, first)
    tl.store(sums + (tl.num_programs(0) + n) * M + m, second)


@triton.jit
def _write(
    channels, height, units, images, x, y, xn, xc, xp, yn, yc, yp, norm_weight, norm_bias, weight_h, bias_h, weight_w,
    bias_w, running_mean, running_var, sums, z, moments, strips, scale, eps,
    M: tl.constexpr, BM: tl.constexpr, BS: tl.constexpr,
    CS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program, n, first, width = slab_of(channels, units, CS, UNIT)
    length = height + width
    c, m, image = tl.arange(0, CS), tl.arange(0, BM), tl.arange(0, 64)
    mean, variance, r = tl.zeros([BM], tl.float32), tl.zeros([BM], tl.float32), tl.full([BM], 1.0, tl.float32)
    if running_mean is not None:
        mean, r = vector(running_mean, m, M), 1 / tl.sqrt(vector(running_var, m, M) + eps)
    elif norm_weight is not None:  # of all images, from their means and sums of squared deviations
        count = images * length
        mean = _sum(sums, image, m, images, M, M) / images
        squares = _sum(sums + images * M, image, m, images, M, M) + length * _sum(sums, image, m, images, M, M, mean)
        variance, r = squares / (count - 1), 1 / tl.sqrt(squares / count + eps)
    tl.store(moments + m, mean, mask=m < M)  # every program writes the same
    tl.store(moments + M + m, variance, mask=m < M)
    tl.store(moments + 2 * M + m, r, mask=m < M)
    tl.debug_barrier()
    gates, z = strips + (program * 2 + 1) * CS * length, z + n * M * length
    for side in tl.static_range(2):
        weight, bias, count = (weight_h, bias_h, height) if side == 0 else (weight_w, bias_w, width)
        w, b = matrix(weight, first + c, m, channels, M), vector(bias, first + c, channels)
        for start in range(0, count, BS):
            p = start + tl.arange(0, BS)
            _, u = _hidden(z + side * height, moments, norm_weight, norm_bias, m, p, count, length, M)
            logit = tl.sum(w[:, :, None] * _h_swish(u)[None, :, :], 1) + b[:, None]
            store_strip(gates + side * height, c, p, CS, count, length, scale * tl.sigmoid(logit))
    tl.debug_barrier()
    x, y = x + n * xn + first * xc, y + n * yn + first * yc
    multiply(x, gates, None, y, CS, height, width, xc, xp, yc, yp, BC, BR, BW)


@triton.jit
def _backward_write(
    channels, height, units, images, gy, gx, gn, gc, gp, on, oc, op, w1, norm_weight, norm_bias, of_u, z, moments, sums,
    strips, of_strips, of_parameters, BATCH: tl.constexpr, M: tl.constexpr, BM: tl.constexpr, BS: tl.constexpr,
    CS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program, n, first, width = slab_of(channels, units, CS, UNIT)
    length = height + width
    c, m, image = tl.arange(0, CS), tl.arange(0, BM), tl.arange(0, 64)
    means, of_logits = strips + program * 2 * CS * length, of_strips + program * 2 * CS * length
    z, of_u, of_means = z + n * M * length, of_u + n * M * length, of_logits + CS * length
    of_bias = _sum(sums, image, m, images, M, M)
    of_weight = _sum(sums + images * M, image, m, images, M, M)
    factor, batch = vector(moments + 2 * M, m, M), 1 / (images * length) if BATCH else 0.0
    if norm_weight is not None:
        factor *= vector(norm_weight, m, M)
    w = matrix(w1, m, first + c, M, channels)
    of_w1, of_b1 = tl.zeros([BM, CS], tl.float32), tl.zeros([BM], tl.float32)
    # As of_z then sums to 0 over images and positions, any s - s_0 will do for W1: the first image's cancels better.
    s_0 = tl.load(strips + (first * 2 + c) * length) if BATCH else tl.zeros([CS], tl.float32)
    of_parameters += n * (3 * M * channels + 3 * M + 2 * channels)
    for side in tl.static_range(2):
        count = height if side == 0 else width
        of_up, of_shift = tl.zeros([CS, BM], tl.float32), tl.zeros([CS], tl.float32)
        for start in range(0, count, BS):
            p = start + tl.arange(0, BS)
            normal, u = _hidden(z + side * height, moments, norm_weight, norm_bias, m, p, count, length, M)
            of_logit = load_strip(of_logits + side * height, c, p, CS, count, length)
            of_up += tl.sum(of_logit[:, None, :] * _h_swish(u)[None, :, :], 2)
            of_shift += tl.sum(of_logit, 1)
            # BatchNorm's gradient: of_z = w r (of_u - mean(of_u) - normal * mean(of_u * normal))
            of_z = load_strip(of_u + side * height, m, p, M, count, length)
            of_z -= (of_bias[:, None] + normal * of_weight[:, None]) * batch
            of_z = tl.where((p < count)[None, :], of_z * factor[:, None], 0.0)
            of_mean = tl.sum(w[:, :, None] * of_z[:, None, :], 0)
            store_strip(of_means + side * height, c, p, CS, count, length, of_mean)
            s = load_strip(means + side * height, c, p, CS, count, length) - s_0[:, None]
            of_w1 += tl.sum(s[None, :, :] * of_z[:, None, :], 2)
            of_b1 += tl.sum(of_z, 1)
        up = of_parameters + M * channels + 3 * M + side * (M + 1) * channels
        tl.store(up + (first + c)[:, None] * M + m[None, :], of_up, mask=m[None, :] < M)
        tl.store(up + M * channels + first + c, of_shift)
    tl.store(of_parameters + m[:, None] * channels + (first + c)[None, :], of_w1, mask=m[:, None] < M)
    if first == 0:
        at = of_parameters + M * channels + m
        tl.store(at, tl.where(BATCH, 0.0, of_b1), mask=m < M)  # BatchNorm takes the mean away again
        tl.store(at + M, tl.where(n == 0, of_weight, 0.0), mask=m < M)  # of all images
        tl.store(at + 2 * M, tl.where(n == 0, of_bias, 0.0), mask=m < M)
    tl.debug_barrier()
    gy, gx = gy + n * gn + first * gc, gx + n * on + first * oc
    multiply(gy, means + CS * length, of_means, gx, CS, height, width, gc, gp, oc, op, BC, BR, BW)


CA = Form(_forward, _backward, _saved, lambda b: [b.scale, getattr(b.norm, "eps", 0.0)], _parameters, _refuses, _update)
