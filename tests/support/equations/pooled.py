"""Equations of Triplet, MLCA, SRM and ESE, whose gates come from pooled maps, and the cases to compare them in."""

from __future__ import annotations

import torch

from support.equations.algebra import batch_norm, conv1d, conv2d, sigmoid


def triplet(x, p, scale, train):
    def gate(plane, name):  # plane (N, pooled, rows, columns)
        z = conv2d(torch.stack((plane.max(1).values, plane.mean(1)), 1), p[f"conv_{name}.weight"])
        return scale * sigmoid(batch_norm(z, p, f"norm_{name}", train))[:, 0]

    g_h = gate(x.transpose(1, 2), "h")[:, :, None, :]  # (N, C, 1, W)
    g_w = gate(x.permute(0, 3, 2, 1), "w").transpose(1, 2)[:, :, :, None]  # (N, C, H, 1)
    return x * (g_h + g_w + gate(x, "c")[:, None]) / 3


def bounds(i, n, parts):
    """Return the first position of part i of n positions, and the one behind its last; parts may overlap."""
    return i * n // parts, -(-(i + 1) * n // parts)


def mlca(side, weight):
    def equation(x, p, scale, train):
        height, width = x.shape[2:]
        cells = []
        for i in range(side):
            for j in range(side):
                (top, bottom), (left, right) = bounds(i, height, side), bounds(j, width, side)
                cells.append(x[:, :, top:bottom, left:right].mean((2, 3)))  # (N, C)
        whole = conv1d(torch.stack(cells).mean(0)[:, None], p["global_conv.weight"], 1)[:, 0]
        local = conv1d(torch.cat(cells, 1)[:, None], p["local_conv.weight"], 1)[:, 0]
        parts = [weight * sigmoid(z) + (1 - weight) * sigmoid(whole) for z in local.chunk(side * side, 1)]
        rows = []
        for h in range(height):
            (top, bottom), row = bounds(h, side, height), []
            for w in range(width):
                left, right = bounds(w, side, width)
                seen = [parts[i * side + j] for i in range(top, bottom) for j in range(left, right)]
                row.append(sum(seen) / len(seen))
            rows.append(torch.stack(row, 2))
        return x * scale * torch.stack(rows, 2)

    return equation


def srm(x, p, scale, train):
    n = x.shape[2] * x.shape[3]
    mean = x.mean((2, 3), keepdim=True)
    std = (((x - mean) ** 2).sum((2, 3), keepdim=True) / max(n - 1, 1) + 1e-5).sqrt()
    c1, c2 = p["weigh.weight"][:, 0, 0, :, None, None].unbind(1)
    return x * scale * sigmoid(batch_norm(c1 * mean + c2 * std, p, "norm", train))


def ese(x, p, scale, train):
    z = x.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]
    return x * scale * ((z + 3).clamp(0, 6) / 6)[:, :, None, None]


CASES = [  # block, channels, arguments, equation
    ("Triplet", 8, {}, triplet),
    ("Triplet", 16, {"kernel_size": 3}, triplet),
    ("MLCA", 16, {}, mlca(5, 0.5)),
    ("MLCA", 8, {"local_size": 3, "local_weight": 0.8, "gamma": 1}, mlca(3, 0.8)),
    ("SRM", 16, {}, srm),
    ("ESE", 16, {}, ese),
]
