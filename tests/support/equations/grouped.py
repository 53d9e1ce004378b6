"""Equations of EMA and SA, which share their layers among groups of channels, and the cases to compare them in."""

from __future__ import annotations

import torch

from support.equations.algebra import EPS, blend, conv2d, sigmoid, softmax


def each_normalised(z, p):  # every channel of (N, C, H, W) over its positions
    mean, var = z.mean((2, 3), keepdim=True), z.var((2, 3), unbiased=False, keepdim=True)
    return (z - mean) / (var + EPS).sqrt() * p["norm.weight"][:, None, None] + p["norm.bias"][:, None, None]


def ema(groups):
    def equation(x, p, scale, train):
        def dense(strip):  # (N, d, L)
            return torch.einsum("oc,ncl->nol", p["conv1x1.weight"][:, :, 0, 0], strip) + p["conv1x1.bias"][:, None]

        out = []
        for g in x.chunk(groups, 1):
            a_h, a_w = sigmoid(dense(g.mean(3))), sigmoid(dense(g.mean(2)))
            x1 = each_normalised(g * a_h[:, :, :, None] * a_w[:, :, None, :], p)
            x2 = conv2d(g, p["conv3x3.weight"], p["conv3x3.bias"])
            w1, w2 = (softmax(z.mean((2, 3))) for z in (x1, x2))
            w = torch.einsum("nd,ndhw->nhw", w1, x2) + torch.einsum("nd,ndhw->nhw", w2, x1)
            out.append(g * scale * sigmoid(w)[:, None])
        return torch.cat(out, 1)

    return equation


def sa(groups, shuffle):
    def equation(x, p, scale, train):
        def vector(name):
            return p[name][:, None, None]

        scale, out = 1 if shuffle else scale, []
        for g in x.chunk(groups, 1):
            x0, x1 = g.chunk(2, 1)
            z0 = vector("channel_weight") * x0.mean((2, 3), keepdim=True) + vector("channel_bias")
            z1 = vector("spatial_weight") * each_normalised(x1, p) + vector("spatial_bias")
            out += [x0 * scale * sigmoid(z0), x1 * scale * sigmoid(z1)]
        y = torch.cat(out, 1)
        if shuffle:
            first, second = y.chunk(2, 1)
            y = torch.stack((first, second), 2).flatten(1, 2)
        return blend(x, y, p)

    return equation


CASES = [  # block, channels, arguments, equation
    ("EMA", 64, {}, ema(32)),
    ("EMA", 32, {"factor": 8}, ema(8)),
    ("EMA", 12, {"factor": 5}, ema(4)),  # 5 does not divide 12
    ("SA", 16, {}, sa(8, True)),  # 64 pairs of halves do not fit
    ("SA", 24, {"groups": 3}, sa(3, True)),
    ("SA", 16, {"groups": 4, "shuffle": False}, sa(4, False)),
]
