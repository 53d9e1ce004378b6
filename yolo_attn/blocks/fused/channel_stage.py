"""The small maps between the two kernels of the blocks with a context: from the context ``s`` to gates, and back.

Every program of an image computes them anew, and writes the same values to the same place; it reads them back after a
barrier, when all that it needs is its own. Nothing that another program may have written already is added to.

- ``TAPS > 0``, ECA: ``t_c = sum_k w2_k s_(c + k - TAPS // 2) + b2``.
- Two layers: ``z = W1 s + b1`` (hidden), ``u = z``, or ``u = gain * norm(z) + shift`` with a LayerNorm,
  ``h = relu(u)``, ``t = W2 h + b2`` (C).
- One layer, SNL: ``h = s`` (C), ``t = W2 h + b2`` (C).
"""

from __future__ import annotations

import triton
import triton.language as tl

from yolo_attn.blocks.fused.slab import matrix, vector


@triton.jit
def taps(w, x, c, channels, STEP: tl.constexpr, TAPS: tl.constexpr):
    """Return the convolution of a kernel with the channels at ``c``, or, with ``STEP`` -1, its transpose."""
    t = tl.zeros(c.shape, tl.float32)
    for k in range(TAPS):
        at = c + STEP * (k - TAPS // 2)
        inside = (at >= 0) & (at < channels)
        t += tl.load(w + k).to(tl.float32) * tl.load(x + at, mask=inside, other=0.0)
    return t


@triton.jit
def normalized(z, inside, width, eps):
    """Return ``z`` with mean 0 and variance 1, and the factor."""
    d = tl.where(inside, z - tl.sum(z, 0) / width, 0.0)
    r = 1 / tl.sqrt(tl.sum(d * d, 0) / width + eps)
    return d * r, r


@triton.jit
def transform(
    s, z, gate, w1, b1, gain, shift, w2, b2, channels, width, scale, eps,
    SIGMOID: tl.constexpr, TAPS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr,
):  # fmt: skip
    """Write ``t``, or ``scale * sigmoid(t)``, of all channels, and ``z``."""
    j = tl.arange(0, HID)
    if w1 is not None:
        sums = tl.zeros([HID, CS], tl.float32)
        for start in range(0, channels, CS):
            c = start + tl.arange(0, CS)
            sums += matrix(w1, j, c, width, channels) * vector(s, c, channels)[None, :]
        h = tl.sum(sums, 1)
        if b1 is not None:
            h += vector(b1, j, width)
        tl.store(z + j, h, mask=j < width)
        if gain is not None:
            h = normalized(h, j < width, width, eps)[0] * vector(gain, j, width) + vector(shift, j, width)
        h = tl.maximum(h, 0.0, tl.PropagateNan.ALL)
    else:
        h = vector(s, j, width)
    for start in range(0, channels, CS):
        c = start + tl.arange(0, CS)
        if TAPS > 0:
            t = taps(w2, s, c, channels, 1, TAPS)
            if b2 is not None:
                t += tl.load(b2).to(tl.float32)
        else:
            t = tl.sum(matrix(w2, c, j, channels, width) * h[None, :], 1)
            if b2 is not None:
                t += vector(b2, c, channels)
        tl.store(gate + c, scale * tl.sigmoid(t) if SIGMOID else t, mask=c < channels)


@triton.jit
def transform_gradient(
    s, z, of_t, of_s, rest, w1, gain, shift, w2, channels, width, eps,
    TAPS: tl.constexpr, HID: tl.constexpr, CS: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the context from that of ``t``; and ``rest``, of which gradients of parameters are made.

    These are ``h`` and the gradients of ``z``, gain and shift, ``(width,)`` each; for ECA the gradients of its kernel,
    ``(TAPS,)``, and of its bias.
    """
    if TAPS > 0:
        for start in range(0, channels, CS):
            c = start + tl.arange(0, CS)
            tl.store(of_s + c, taps(w2, of_t, c, channels, -1, TAPS), mask=c < channels)
        if tl.program_id(1) == 0:
            for k in range(TAPS + 1):  # the bias is a tap on 1
                sums = tl.zeros([CS], tl.float32)
                for start in range(0, channels, CS):
                    c = start + tl.arange(0, CS)
                    at = c + k - TAPS // 2
                    inside = (at >= 0) & (at < channels) & (k < TAPS)
                    tap = tl.load(s + at, mask=inside, other=0.0)
                    sums += vector(of_t, c, channels) * tl.where(k < TAPS, tap, 1.0)
                tl.store(rest + k, tl.sum(sums, 0))
    else:
        j = tl.arange(0, HID)
        sums = tl.zeros([CS, HID], tl.float32)
        for start in range(0, channels, CS):
            c = start + tl.arange(0, CS)
            sums += matrix(w2, c, j, channels, width) * vector(of_t, c, channels)[:, None]
        of_h = tl.sum(sums, 0)
        if w1 is None:
            tl.store(of_s + j, of_h, mask=j < width)
        else:
            h = vector(z, j, width)
            if gain is not None:
                norm, r = normalized(h, j < width, width, eps)
                g = vector(gain, j, width)
                h = norm * g + vector(shift, j, width)
                of_u = tl.where(h > 0, of_h, 0.0)
                tl.store(rest + 2 * width + j, of_u * norm, mask=j < width)
                tl.store(rest + 3 * width + j, of_u, mask=j < width)
                of_norm = of_u * g
                of_z = r * (of_norm - tl.sum(of_norm, 0) / width - norm * (tl.sum(of_norm * norm, 0) / width))
            else:
                of_z = tl.where(h > 0, of_h, 0.0)
            of_z = tl.where(j < width, of_z, 0.0)
            tl.store(rest + j, tl.maximum(h, 0.0), mask=j < width)
            tl.store(rest + width + j, of_z, mask=j < width)
            for start in range(0, channels, CS):
                c = start + tl.arange(0, CS)
                tl.store(of_s + c, tl.sum(matrix(w1, j, c, width, channels) * of_z[:, None], 0), mask=c < channels)
