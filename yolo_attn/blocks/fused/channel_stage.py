"""The small maps between the two kernels of the blocks with a context: from the context ``s`` to gates, and back.

- Two layers: ``z = W1 s + b1`` (hidden), ``u = z``, or ``u = gain * norm(z) + shift`` with a LayerNorm,
  ``h = relu(u)``, ``t = W2 h + b2`` (C).
- One layer, SNL: ``h = s`` (C), ``t = W2 h + b2`` (C).
- ECA: ``t = S w + b`` (C), whose matrix has the neighbours of each channel, ``S_cj = s_(c + j - TAPS // 2)``.

Every program of an image computes them anew, and writes the same values to the same place; it reads them back after a
barrier, when all that it needs is its own. Nothing that another program may have written already is added to.
"""

from __future__ import annotations

import triton
import triton.language as tl

from yolo_attn.blocks.fused.slab import strided, vector


@triton.jit
def _matrix(start, c, j, channels, width, of_c, of_j, TAPS: tl.constexpr):
    """Return rows ``c`` of a matrix ``(C, width)``; with ``TAPS``, of neighbours of the channels, 0 beyond ends."""
    if TAPS > 0:
        at = c[:, None] + j[None, :] - TAPS // 2
        return tl.load(start + at, mask=(at >= 0) & (at < channels) & (j[None, :] < TAPS), other=0.0)
    else:
        return strided(start, c, j, channels, width, of_c, of_j)


@triton.jit
def _from_channels(start, v, channels, width, of_c, of_j, TAPS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr):
    """Return ``sum_c M_cj v_c`` (width)."""
    sums = tl.zeros([CS, HID], tl.float32)
    for first in range(0, channels, CS):
        c = first + tl.arange(0, CS)
        m = _matrix(start, c, tl.arange(0, HID), channels, width, of_c, of_j, TAPS)
        sums += m * vector(v, c, channels)[:, None]
    return tl.sum(sums, 0)


@triton.jit
def _to_channels(
    start, v, b, out, channels, width, of_c, of_j, scale,
    SIGMOID: tl.constexpr, TAPS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr,
):  # fmt: skip
    """Write ``t_c = sum_j M_cj v_j + b_c`` (C), or ``scale * sigmoid(t)``."""
    for first in range(0, channels, CS):
        c = first + tl.arange(0, CS)
        m = _matrix(start, c, tl.arange(0, HID), channels, width, of_c, of_j, TAPS)
        t = tl.sum(m * v[None, :], 1)
        if b is not None:
            t += vector(b, c * 0 if TAPS > 0 else c, channels)
        tl.store(out + c, scale * tl.sigmoid(t) if SIGMOID else t, mask=c < channels)


@triton.jit
def _normalized(z, j, gain, shift, width, eps):
    """Return ``u``, ``norm(z)`` and its factor, and ``gain``; without a LayerNorm ``u = z``."""
    if gain is None:
        return z, z, 1.0, 1.0
    else:
        d = tl.where(j < width, z - tl.sum(z, 0) / width, 0.0)
        r = 1 / tl.sqrt(tl.sum(d * d, 0) / width + eps)
        g = vector(gain, j, width)
        return g * (d * r) + vector(shift, j, width), d * r, r, g


@triton.jit
def transform(
    s, t, w1, b1, gain, shift, w2, b2, channels, width, scale, eps,
    SIGMOID: tl.constexpr, TAPS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr,
):  # fmt: skip
    """Write ``t``, or ``scale * sigmoid(t)``, of all channels, and ``z`` behind it."""
    j = tl.arange(0, HID)
    if TAPS > 0:
        _to_channels(s, vector(w2, j, TAPS), b2, t, channels, width, 1, 1, scale, SIGMOID, TAPS, HID, CS)
    else:
        if w1 is None:
            h = vector(s, j, width)
        else:
            z = _from_channels(w1, s, channels, width, 1, channels, 0, HID, CS)
            if b1 is not None:
                z += vector(b1, j, width)
            tl.store(t + channels + j, z, mask=j < width)
            h = tl.maximum(_normalized(z, j, gain, shift, width, eps)[0], 0.0, tl.PropagateNan.ALL)
        _to_channels(w2, h, b2, t, channels, width, width, 1, scale, SIGMOID, 0, HID, CS)


@triton.jit
def transform_gradient(
    s, t, of_s, other, w1, gain, shift, w2, channels, width, eps,
    TAPS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the context, plus another, from that of ``t`` behind it; then what parameters need.

    These are ``h`` and the gradients of ``z``, gain and shift, ``(width,)`` each; for ECA the gradient of its kernel.
    """
    j, of_t, rest = tl.arange(0, HID), of_s + channels, of_s + 2 * channels
    if TAPS > 0:
        tl.store(rest + j, _from_channels(s, of_t, channels, width, 1, 1, TAPS, HID, CS), mask=j < TAPS)
        w = tl.load(w2 + TAPS - 1 - j, mask=j < TAPS, other=0.0).to(tl.float32)  # each is its neighbours' neighbour
        _to_channels(of_t, w, None, of_s, channels, width, 1, 1, 1.0, False, TAPS, HID, CS)
    else:
        of_h = _from_channels(w2, of_t, channels, width, width, 1, 0, HID, CS)
        if w1 is None:
            tl.store(rest + j, vector(s, j, width), mask=j < width)
            tl.store(of_s + j, of_h, mask=j < width)
        else:
            u, norm, r, g = _normalized(vector(t + channels, j, width), j, gain, shift, width, eps)
            of_u = tl.where(u > 0, of_h, 0.0)
            of_z = of_u * g
            if gain is not None:
                of_z = r * (of_z - tl.sum(of_z, 0) / width - norm * (tl.sum(of_z * norm, 0) / width))
            of_z = tl.where(j < width, of_z, 0.0)
            tl.store(rest + j, tl.maximum(u, 0.0), mask=j < width)
            tl.store(rest + width + j, of_z, mask=j < width)
            tl.store(rest + 2 * width + j, of_u * norm, mask=j < width)
            tl.store(rest + 3 * width + j, of_u, mask=j < width)
            _to_channels(w1, of_z, other, of_s, channels, width, 1, channels, 1.0, False, 0, HID, CS)
