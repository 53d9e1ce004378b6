"""CA in three kernels each way: BatchNorm's statistics stand between what a slab gives and what it gets.

With the means ``s`` of rows and columns, ``z = W1 s + b1``, ``u = BN(z)``, ``f = h_swish(u)``, all ``(N, M, H + W)``,
and ``y = x * gate(Wh f + bh)_row * gate(Ww f + bw)_column``. A slab is an image and some channels; it gives its share
of ``W1 s``, or of the gradient of ``f``. The second kernel adds the shares, for each image and hidden channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from yolo_attn.blocks.fused import slab, strip
from yolo_attn.blocks.fused.form import Call, Form, Gradients, Numbers, parameters_of
from yolo_attn.blocks.fused.strip import load_strip, multiply, pool, store_strip

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
    """Return the parameters, and the running statistics where they are used."""
    norm = block.norm
    used = isinstance(norm, nn.BatchNorm2d) and not norm.training
    return [*parameters_of(block), *([norm.running_mean, norm.running_var] if used else [])]


def _saved(x: Tensor, parameters: Any, settings: Numbers) -> list[tuple[int, ...]]:
    """Return the shapes: strips of means and gates; ``z``; and its mean, unbiased variance and ``1 / std``."""
    n, channels, height, width = x.shape
    hidden, length = parameters[0].shape[0], height + width
    return [(2, n, channels, length), (n, hidden, length), (3, hidden)]


def _forward(call: Call) -> None:
    x, y = call.maps
    strips, z, moments = call.saved
    w1, b1, norm, up, running = _parts(call.parameters)
    slabs, blocks, sizes, constants, adding = _launch(x, w1)
    shares, of_images = call.new(slabs, *z.shape[1:]), call.new(2, *z.shape[:2])
    slab.launch(_pool, (slabs,), x, w1, strips, shares, *sizes, *call.strides[:3], **constants)
    args = (shares, b1, z, of_images, of_images[0].numel(), blocks, z.shape[2])
    slab.launch(_add, tuple(z.shape[:2]), *args, **adding)
    args = (x, *norm, *up, *running, of_images, z, strips, moments, y, strips[0].numel(), call.images, *sizes)
    slab.launch(_write, (slabs,), *args, *call.strides, *call.settings, **constants)


def _update(block: Any, saved: Sequence[Tensor]) -> None:
    """Update the running statistics as BatchNorm does."""
    norm = block.norm
    if norm.training and not isinstance(norm, nn.Identity):
        mean, variance = (m.to(norm.running_mean.dtype) for m in saved[2][:2])
        torch._foreach_lerp_([norm.running_mean, norm.running_var], [mean, variance], norm.momentum)
        norm.num_batches_tracked.add_(1)


def _backward(call: Call) -> Gradients:
    x, gy, gx = call.maps
    strips, z, moments = call.saved
    hidden, length = z.shape[1:]
    w1, _, norm, up, running = _parts(call.parameters)
    product, channels, n, needs = hidden * call.channels, call.channels, call.images, call.needs
    per_image = [product, hidden, hidden, hidden, product, channels, product, channels]
    slabs, blocks, sizes, constants, adding = _launch(x, w1)
    of_strips, of_u = torch.empty_like(strips[0]), torch.empty_like(z)
    shares, of_parameters = call.new(slabs, hidden, length), call.new(n, sum(per_image))
    args = (x, gy, *norm, up[0], up[2], z, moments, strips, of_strips, shares, of_parameters, strips[0].numel())
    more = (*sizes, *call.strides[:6], call.settings[0])
    slab.launch(_backward_pool, (slabs,), *args, *more, NEEDS=needs, **constants)
    args = (shares, *norm, z, moments, of_u, of_parameters, channels, blocks, length)
    slab.launch(_backward_add, (n, hidden), *args, **adding)
    args = (gy, w1, norm[0], of_u, z, moments, strips, of_strips, gx, of_parameters, strips[0].numel(), n, *sizes)
    constants |= {"NEEDS": needs, "BATCH": norm[0] is not None and running[0] is None}
    slab.launch(_backward_write, (slabs,), *args, *call.strides[3:], **constants)
    found = of_parameters.sum(0).split(per_image) if needs else ()
    return found if norm[0] is not None else [*found[:2], *found[4:]]


def _parts(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor, Sequence[Any], Sequence[Tensor], Sequence[Any]]:
    """Return ``W1``, ``b1``, weight and bias of BatchNorm, ``Wh bh Ww bw`` and the running statistics."""
    w1, b1, *rest = parameters
    norm = rest[:-4] if len(rest) == 4 else rest[:2]
    up = rest[len(norm) :][:4]
    return w1, b1, norm or (None, None), up, rest[len(norm) + 4 :] or (None, None)


def _launch(x: Tensor, w1: Tensor) -> tuple[int, int, tuple[int, ...], dict[str, int], dict[str, int]]:
    """Return the numbers of slabs and of those of an image, and sizes and constants of the kernels."""
    n, channels, height, width = x.shape
    least, cs = 8 if x.stride(1) == 1 else 4, 16
    while channels % cs or (cs > least and n * channels < _ENOUGH * cs and cs * height * width > 1024):
        cs //= 2
    blocks, hidden = channels // cs, w1.shape[0]
    tile = strip.tile(cs, height, width)
    bm, bl = triton.next_power_of_2(hidden), triton.next_power_of_2(height + width)
    constants = {"M": hidden, "CS": cs, "BM": bm, "BS": min(bl, _TILE // (bm * cs)), **tile}
    adding = {"M": hidden, "BB": min(triton.next_power_of_2(blocks), max(_TILE // bl, 1)), "BL": bl}
    return n * blocks, blocks, (channels, height, width // tile["UNIT"]), constants, adding


@triton.jit
def _affine(weight, bias, m, M: tl.constexpr, BM: tl.constexpr):
    """Return weight and bias of BatchNorm for hidden channels ``m``; 1 and 0 where there is none."""
    w, b = tl.full([BM], 1.0, tl.float32), tl.zeros([BM], tl.float32)
    if weight is not None:
        w = tl.load(weight + m, mask=m < M, other=0.0).to(tl.float32)
        b = tl.load(bias + m, mask=m < M, other=0.0).to(tl.float32)
    return w, b


@triton.jit
def _h_swish(u):
    return u * tl.minimum(tl.maximum(u + 3, 0.0), 6.0) / 6


@triton.jit
def _up(weight_h, weight_w, c, m, p, height, M: tl.constexpr):
    """Return for positions ``p`` the weights ``(CS, BS, BM)`` of their direction."""
    at, inside = c[:, None] * M + m[None, :], m[None, :] < M
    of_rows = tl.load(weight_h + at, mask=inside, other=0.0).to(tl.float32)
    of_columns = tl.load(weight_w + at, mask=inside, other=0.0).to(tl.float32)
    return tl.where((p < height)[None, :, None], of_rows[:, None, :], of_columns[:, None, :])


@triton.jit
def _sum(values, rows, columns, row_end, column_end, stride, BN: tl.constexpr, BM: tl.constexpr):
    """Return the sum over the rows of a matrix, for some columns."""
    total = tl.zeros([BM], tl.float32)
    for start in range(0, row_end, BN):
        total += tl.sum(load_strip(values, start + rows, columns, row_end, column_end, stride), 0)
    return total


@triton.jit
def _pool(
    x, w1, strips, shares, channels, height, units, xn, xc, xp, M: tl.constexpr, CS: tl.constexpr,
    BM: tl.constexpr, BS: tl.constexpr, UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, first = program // (channels // CS), program % (channels // CS) * CS
    width = units * UNIT
    length = height + width
    means = strips + program * CS * length
    pool(x + n * xn + first * xc, None, None, means, CS, height, width, xc, xp, 0, 0, BC, BR, BW)
    tl.debug_barrier()
    c, m = tl.arange(0, CS), tl.arange(0, BM)
    w = tl.load(w1 + m[None, :] * channels + (first + c)[:, None], mask=m[None, :] < M, other=0.0).to(tl.float32)
    for begin in range(0, length, BS):
        p = begin + tl.arange(0, BS)
        s = load_strip(means, c, p, CS, length, length)
        share = tl.sum(w[:, None, :] * s[:, :, None], 0)  # (BS, BM)
        store_strip(shares + program * M * length, m, p, M, length, length, tl.trans(share))


@triton.jit
def _add(shares, b1, z, of_images, size, blocks, length, M: tl.constexpr, BB: tl.constexpr, BL: tl.constexpr):
    n, m = tl.program_id(0).to(tl.int64), tl.program_id(1)
    block, p = tl.arange(0, BB), tl.arange(0, BL)
    shares += (n * blocks * M + m) * length
    total = _sum(shares, block, p, blocks, length, M * length, BB, BL) + tl.load(b1 + m).to(tl.float32)
    tl.store(z + (n * M + m) * length + p, total, mask=p < length)
    mean = tl.sum(tl.where(p < length, total, 0.0)) / length
    d = tl.where(p < length, total - mean, 0.0)
    tl.store(of_images + n * M + m, mean)
    tl.store(of_images + size + n * M + m, tl.sum(d * d))


@triton.jit
def _write(
    x, norm_weight, norm_bias, weight_h, bias_h, weight_w, bias_w, running_mean, running_var, of_images, z, strips,
    moments, y, size, images, channels, height, units, xn, xc, xp, yn, yc, yp, scale, eps,
    M: tl.constexpr, CS: tl.constexpr, BM: tl.constexpr, BS: tl.constexpr,
    UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, first = program // (channels // CS), program % (channels // CS) * CS
    width = units * UNIT
    length = height + width
    c, m, image = tl.arange(0, CS), tl.arange(0, BM), tl.arange(0, 64)
    mean, variance, r = tl.zeros([BM], tl.float32), tl.zeros([BM], tl.float32), tl.full([BM], 1.0, tl.float32)
    if running_mean is not None:
        mean = tl.load(running_mean + m, mask=m < M, other=0.0).to(tl.float32)
        r = 1 / tl.sqrt(tl.load(running_var + m, mask=m < M, other=1.0).to(tl.float32) + eps)
    elif norm_weight is not None:  # of all images, from their means and sums of squared deviations
        count = images * length
        mean = _sum(of_images, image, m, images, M, M, 64, BM) / images
        squares = _sum(of_images + images * M, image, m, images, M, M, 64, BM)
        for start in range(0, images, 64):
            d = load_strip(of_images, start + image, m, images, M, M) - mean[None, :]
            squares += length * tl.sum(tl.where((start + image < images)[:, None], d * d, 0.0), 0)
        variance = squares / (count - 1)
        r = 1 / tl.sqrt(squares / count + eps)
    if program == 0:
        tl.store(moments + m, mean, mask=m < M)
        tl.store(moments + M + m, variance, mask=m < M)
        tl.store(moments + 2 * M + m, r, mask=m < M)
    w, b = _affine(norm_weight, norm_bias, m, M, BM)
    gates = strips + size + program * CS * length
    of_row = tl.load(bias_h + first + c).to(tl.float32)[:, None]
    of_column = tl.load(bias_w + first + c).to(tl.float32)[:, None]
    for begin in range(0, length, BS):
        p = begin + tl.arange(0, BS)
        u = (tl.trans(load_strip(z + n * M * length, m, p, M, length, length)) - mean[None, :]) * (w * r)[None, :]
        f = _h_swish(u + b[None, :])  # (BS, BM)
        logit = tl.sum(_up(weight_h, weight_w, first + c, m, p, height, M) * f[None, :, :], 2)
        logit += tl.where((p < height)[None, :], of_row, of_column)
        store_strip(gates, c, p, CS, length, length, scale * tl.sigmoid(logit))
    tl.debug_barrier()
    x, y = x + n * xn + first * xc, y + n * yn + first * yc
    multiply(x, gates, None, y, CS, height, width, xc, xp, yc, yp, BC, BR, BW)


@triton.jit
def _backward_pool(
    x, gy, norm_weight, norm_bias, weight_h, weight_w, z, moments, strips, of_strips, shares, of_parameters, size,
    channels, height, units, xn, xc, xp, gn, gc, gp, scale, NEEDS: tl.constexpr,
    M: tl.constexpr, CS: tl.constexpr, BM: tl.constexpr, BS: tl.constexpr,
    UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, first = program // (channels // CS), program % (channels // CS) * CS
    width = units * UNIT
    length = height + width
    gates, of_gates = strips + size + program * CS * length, of_strips + program * CS * length
    x, gy = x + n * xn + first * xc, gy + n * gn + first * gc
    pool(x, gy, gates, of_gates, CS, height, width, xc, xp, gc, gp, BC, BR, BW)
    tl.debug_barrier()
    c, m = tl.arange(0, CS), tl.arange(0, BM)
    mean = tl.load(moments + m, mask=m < M, other=0.0)
    r = tl.load(moments + 2 * M + m, mask=m < M, other=0.0)
    w, b = _affine(norm_weight, norm_bias, m, M, BM)
    of_h, of_w = tl.zeros([CS, BM], tl.float32), tl.zeros([CS, BM], tl.float32)
    of_bias_h, of_bias_w = tl.zeros([CS], tl.float32), tl.zeros([CS], tl.float32)
    for begin in range(0, length, BS):
        p = begin + tl.arange(0, BS)
        s = load_strip(gates, c, p, CS, length, length) / scale
        of_logit = load_strip(of_gates, c, p, CS, length, length) * scale * s * (1 - s)
        of_f = tl.sum(_up(weight_h, weight_w, first + c, m, p, height, M) * of_logit[:, :, None], 0)  # (BS, BM)
        store_strip(shares + program * M * length, m, p, M, length, length, tl.trans(of_f))
        if NEEDS:
            u = (tl.trans(load_strip(z + n * M * length, m, p, M, length, length)) - mean[None, :]) * (w * r)[None, :]
            f = _h_swish(u + b[None, :])
            of_row = tl.where((p < height)[None, :], of_logit, 0.0)
            of_column = tl.where((p < height)[None, :], 0.0, of_logit)
            of_h += tl.sum(of_row[:, :, None] * f[None, :, :], 1)
            of_w += tl.sum(of_column[:, :, None] * f[None, :, :], 1)
            of_bias_h += tl.sum(of_row, 1)
            of_bias_w += tl.sum(of_column, 1)
    if NEEDS:
        product = M * channels
        of_up = of_parameters + n * (3 * product + 3 * M + 2 * channels) + product + 3 * M
        at, inside = (first + c)[:, None] * M + m[None, :], m[None, :] < M
        tl.store(of_up + at, of_h, mask=inside)
        tl.store(of_up + product + first + c, of_bias_h)
        tl.store(of_up + product + channels + at, of_w, mask=inside)
        tl.store(of_up + 2 * product + channels + first + c, of_bias_w)


@triton.jit
def _backward_add(
    shares, norm_weight, norm_bias, z, moments, of_u, of_parameters, channels, blocks, length,
    M: tl.constexpr, BB: tl.constexpr, BL: tl.constexpr,
):  # fmt: skip
    n, m = tl.program_id(0).to(tl.int64), tl.program_id(1)
    block, p = tl.arange(0, BB), tl.arange(0, BL)
    total = _sum(shares + (n * blocks * M + m) * length, block, p, blocks, length, M * length, BB, BL)
    at = (n * M + m) * length + p
    normal = (tl.load(z + at, mask=p < length, other=0.0) - tl.load(moments + m)) * tl.load(moments + 2 * M + m)
    u = normal
    if norm_weight is not None:
        u = normal * tl.load(norm_weight + m).to(tl.float32) + tl.load(norm_bias + m).to(tl.float32)
    total = tl.where(p < length, total * tl.where(u < -3, 0.0, tl.where(u <= 3, u / 3 + 0.5, 1.0)), 0.0)
    tl.store(of_u + at, total, mask=p < length)
    of_norm = of_parameters + n * (3 * M * channels + 3 * M + 2 * channels) + M * channels + M + m
    tl.store(of_norm, tl.sum(total * normal))
    tl.store(of_norm + M, tl.sum(total))


@triton.jit
def _backward_write(
    gy, w1, norm_weight, of_u, z, moments, strips, of_strips, gx, of_parameters, size, images, channels, height, units,
    gn, gc, gp, on, oc, op, NEEDS: tl.constexpr, BATCH: tl.constexpr,
    M: tl.constexpr, CS: tl.constexpr, BM: tl.constexpr, BS: tl.constexpr,
    UNIT: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    n, first = program // (channels // CS), program % (channels // CS) * CS
    width = units * UNIT
    length = height + width
    c, m, image = tl.arange(0, CS), tl.arange(0, BM), tl.arange(0, 64)
    mean = tl.load(moments + m, mask=m < M, other=0.0)
    r = tl.load(moments + 2 * M + m, mask=m < M, other=0.0)
    factor, _ = _affine(norm_weight, norm_weight, m, M, BM)
    factor *= r
    shift, slope = tl.zeros([BM], tl.float32), tl.zeros([BM], tl.float32)
    per_image = 3 * M * channels + 3 * M + 2 * channels
    if BATCH:  # BatchNorm's gradient: of_z = w r (of_u - mean(of_u) - normal * mean(of_u * normal))
        of_norm = of_parameters + M * channels + M
        slope = _sum(of_norm, image, m, images, M, per_image, 64, BM) / (images * length)
        shift = _sum(of_norm + M, image, m, images, M, per_image, 64, BM) / (images * length)
    means, of_means = strips + program * CS * length, of_strips + program * CS * length
    at = m[None, :] * channels + (first + c)[:, None]
    w = tl.load(w1 + at, mask=m[None, :] < M, other=0.0).to(tl.float32)
    of_w1, of_b1 = tl.zeros([CS, BM], tl.float32), tl.zeros([BM], tl.float32)
    # As of_z then sums to 0 over images and positions, any s - s_0 will do for W1, and small ones cancel better.
    s_0 = tl.load(strips + (first + c) * length) if BATCH else tl.zeros([CS], tl.float32)
    for begin in range(0, length, BS):
        p = begin + tl.arange(0, BS)
        of_z = tl.trans(load_strip(of_u + n * M * length, m, p, M, length, length))
        if BATCH:
            normal = tl.trans(load_strip(z + n * M * length, m, p, M, length, length)) - mean[None, :]
            of_z -= shift[None, :] + normal * (r * slope)[None, :]
        of_z = tl.where((p < length)[:, None], of_z * factor[None, :], 0.0)  # (BS, BM)
        store_strip(of_means, c, p, CS, length, length, tl.sum(w[:, None, :] * of_z[None, :, :], 2))
        if NEEDS:
            s = load_strip(means, c, p, CS, length, length) - s_0[:, None]
            of_w1 += tl.sum(s[:, :, None] * of_z[None, :, :], 1)
            of_b1 += tl.sum(of_z, 0)
    if NEEDS:
        of_parameters += n * per_image
        tl.store(of_parameters + at, of_w1, mask=m[None, :] < M)
        if first == 0:  # exactly 0 where BatchNorm takes the mean away again
            tl.store(of_parameters + M * channels + m, tl.where(BATCH, 0.0, of_b1), mask=m < M)
    tl.debug_barrier()
    gy, gx = gy + n * gn + first * gc, gx + n * on + first * oc
    multiply(gy, means + size, of_means, gx, CS, height, width, gc, gp, oc, op, BC, BR, BW)


CA = Form(
    _forward,
    _backward,
    _saved,
    settings=lambda block: [block.scale, getattr(block.norm, "eps", 0.0)],
    parameters=_parameters,
    refuses=_refuses,
    update=_update,
)
