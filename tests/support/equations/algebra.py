"""Tensor algebra that the equations share: convolutions unfolded, normalisations written out; no ``nn.Module``."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

EPS = 1e-5


def sigmoid(z):
    return 1 / (1 + torch.exp(-z))


def relu(z):
    return z.clamp(min=0)


def softmax(z):  # over the last dimension
    e = torch.exp(z)
    return e / e.sum(-1, keepdim=True)


def batch_norm(z, p, name, train, eps=EPS):  # (N, C, H, W)
    mean, var = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    if train:
        mean, var = z.mean((0, 2, 3)), z.var((0, 2, 3), unbiased=False)
    z = (z - mean[:, None, None]) / (var[:, None, None] + eps).sqrt()
    return z * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None]


def conv1d(z, weight, groups):  # (N, C, L), zeros beyond both ends
    k = weight.shape[2]
    windows = F.pad(z, (k // 2, k // 2)).unfold(2, k, 1)  # (N, C, L, k)
    width = z.shape[1] // groups
    out = [
        torch.einsum("nclk,ock->nol", windows[:, i * width : (i + 1) * width], weight[i * width : (i + 1) * width])
        for i in range(groups)
    ]
    return torch.cat(out, 1)


def mlp(v, p, first, last, norm=None):  # (N, C)
    v = v @ p[f"{first}.weight"].T + p.get(f"{first}.bias", 0)
    if norm:
        v = (v - v.mean(1, keepdim=True)) / (v.var(1, keepdim=True, unbiased=False) + EPS).sqrt()
        v = v * p[f"{norm}.weight"] + p[f"{norm}.bias"]
    return relu(v) @ p[f"{last}.weight"].T + p.get(f"{last}.bias", 0)


def conv2d(z, weight, bias=None, groups=1, dilation=1):  # (N, C, H, W), zeros beyond the edges
    rows, columns = weight.shape[2:]
    padding = (dilation * (rows // 2), dilation * (columns // 2))
    out = []
    for part, kernel in zip(z.chunk(groups, 1), weight.chunk(groups), strict=True):
        windows = F.unfold(part, (rows, columns), padding=padding, dilation=dilation)  # (N, C rows columns, HW)
        out.append((kernel.flatten(1) @ windows).unflatten(2, z.shape[2:]))
    y = torch.cat(out, 1)
    return y if bias is None else y + bias[:, None, None]


def blend(x, y, p):  # with a block that cannot start as the identity
    return x + p["gamma"] * (y - x) if "gamma" in p else y
