"""Equations of LSKA, LSK, CAA, MSCA, CPCA, SCSA, SEAM and SK, and the cases to compare them in."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812

from support.equations.algebra import EPS, batch_norm, blend, conv1d, conv2d, mlp, relu, sigmoid, softmax


def conv(z, p, name, dilation=1):
    weight = p[f"{name}.weight"]
    return conv2d(z, weight, p.get(f"{name}.bias"), z.shape[1] // weight.shape[1], dilation)


def strip(z, p, name, dilation=1):
    return conv(conv(z, p, f"{name}.0", dilation), p, f"{name}.1", dilation)


def scales(z, p):
    a = conv(z, p, "local")
    return a + strip(a, p, "strips.0") + strip(a, p, "strips.1") + strip(a, p, "strips.2")


def gelu(z):
    return z * (1 + torch.erf(z / math.sqrt(2))) / 2


def silu(z):
    return z * sigmoid(z)


def lska(dilation):
    def equation(x, p, scale, train):
        return x * conv(strip(strip(x, p, "local"), p, "dilated", dilation), p, "proj")

    return equation


def msca(x, p, scale, train):
    return x * conv(scales(x, p), p, "proj")


def lsk(x, p, scale, train):
    small = conv(x, p, "small")
    a = torch.stack((conv(small, p, "reduce_small"), conv(conv(small, p, "large", 3), p, "reduce_large")))
    both = torch.cat((a[0], a[1]), 1)
    s = sigmoid(conv(torch.stack((both.mean(1), both.max(1).values), 1), p, "select"))
    return x * conv(a[0] * s[:, :1] + a[1] * s[:, 1:], p, "proj")


def caa_gate(x, p, train):
    sums = sum(F.pad(x, (3, 3, 3, 3))[:, :, i : i + x.shape[2], j : j + x.shape[3]] for i in range(7) for j in range(7))
    z = silu(batch_norm(conv(sums / 49, p, "conv1"), p, "norm1", train, 1e-3))
    z = silu(batch_norm(conv(strip(z, p, "strips"), p, "conv2"), p, "norm2", train, 1e-3))
    return sigmoid(z)


def caa(x, p, scale, train):
    return x * scale * caa_gate(x, p, train)


def caa_alone(x, p, scale, train):
    return blend(x, caa_gate(x, p, train), p)


def cpca(x, p, scale, train):
    u = gelu(conv(x, p, "mix"))
    channel = sum(sigmoid(mlp(s, p, "squeeze", "excite")) for s in (u.mean((2, 3)), u.flatten(2).max(2).values))
    v = u * channel[:, :, None, None]
    return blend(x, conv(v * conv(scales(v, p), p, "mix"), p, "mix"), p)


def group_norm(z, groups, p, name):  # (N, C, ...)
    parts = z.flatten(2).chunk(groups, 1)
    parts = [
        (one - one.mean((1, 2), keepdim=True)) / (one.var((1, 2), False, keepdim=True) + EPS).sqrt() for one in parts
    ]
    return torch.cat(parts, 1) * p[f"{name}.weight"][:, None] + p[f"{name}.bias"][:, None]


def scsa(window, heads):
    def equation(x, p, scale, train):
        def strip_gate(strip, name):  # (N, C, length)
            quarters = enumerate(strip.chunk(4, 1))
            z = [
                conv1d(one, p[f"convs.{i}.weight"], one.shape[1]) + p[f"convs.{i}.bias"][:, None] for i, one in quarters
            ]
            return scale * sigmoid(group_norm(torch.cat(z, 1), 4, p, name))

        x = x * strip_gate(x.mean(3), "norm_h")[..., None] * strip_gate(x.mean(2), "norm_w")[:, :, None]
        tall, wide = min(window, x.shape[2]), min(window, x.shape[3])
        averages = [
            x[:, :, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide].mean((2, 3))
            for i in range(x.shape[2] // tall)
            for j in range(x.shape[3] // wide)
        ]
        z = group_norm(torch.stack(averages, 2), 1, p, "norm")  # (N, C, windows)
        attended = []
        for part, *weights in zip(
            z.chunk(heads, 1), *(p[f"{name}.weight"].flatten().chunk(heads) for name in "qkv"), strict=True
        ):
            q, k, v = (part * weight[:, None] for weight in weights)
            similar = torch.einsum("ncl,nsl->ncs", q, k) / math.sqrt(x.shape[1] / heads)
            attended.append((softmax(similar - similar.amax(2, keepdim=True)) @ v).mean(2))
        return x * scale * sigmoid(torch.cat(attended, 1))[:, :, None, None]

    return equation


def seam(x, p, scale, train):
    z, stage = x, 0
    while f"stages.{stage}.norm1.bias" in p:
        name = f"stages.{stage}"
        z = z + batch_norm(gelu(conv(z, p, f"{name}.depthwise")), p, f"{name}.norm1", train)
        z = batch_norm(gelu(conv(z, p, f"{name}.pointwise")), p, f"{name}.norm2", train)
        stage += 1
    gate = sigmoid(mlp(z.mean((2, 3)), p, "squeeze", "excite"))
    return x * torch.exp(gate - (0.5 if scale == 2 else 0))[:, :, None, None]


def sk(dilations, normed):
    def equation(x, p, scale, train):
        u = [
            relu(batch_norm(conv(x, p, f"branches.{i}.conv", d), p, f"branches.{i}.norm", train))
            for i, d in enumerate(dilations)
        ]
        z = conv(sum(u).mean((2, 3), keepdim=True), p, "squeeze")
        z = relu(batch_norm(z, p, "norm", train)) if normed else z
        logits = torch.stack([conv(z, p, f"select.{i}") for i in range(len(u))], -1)  # (N, C, 1, 1, K)
        return blend(x, (torch.stack(u, -1) * softmax(logits)).sum(-1), p)

    return equation


CASES = [  # block, channels, arguments, equation
    ("LSKA", 8, {}, lska(2)),
    ("LSKA", 8, {"kernel_size": 7}, lska(2)),
    ("LSKA", 8, {"kernel_size": 53}, lska(3)),
    ("LSK", 8, {}, lsk),
    ("LSK", 7, {}, lsk),  # half of the channels, rounded down
    ("CAA", 8, {}, caa),
    ("CAA", 8, {"kernel_size": 3}, caa),
    ("CAA", 8, {"multiply": False}, caa_alone),
    ("MSCA", 8, {}, msca),
    ("CPCA", 8, {}, cpca),
    ("CPCA", 8, {"reduction": 2}, cpca),
    ("SCSA", 32, {}, scsa(7, 8)),
    ("SCSA", 16, {"window": 2, "heads": 4, "kernels": (1, 3, 3, 5)}, scsa(2, 4)),
    ("SCSA", 12, {}, scsa(7, 6)),  # 8 heads do not divide 12 channels
    ("SEAM", 64, {}, seam),
    ("SEAM", 16, {"depth": 2, "reduction": 4}, seam),
    ("SK", 8, {}, sk((1, 1, 1, 1), False)),
    ("SK", 12, {"form": "paper", "min_hidden": 2}, sk((1, 2), True)),  # 12 groups: 32 do not divide 12 channels
    ("SK", 64, {"form": "paper"}, sk((1, 2), True)),
]
