"""Equations of BRA, region by region and position by position, and the cases to compare them in."""

from __future__ import annotations

import math

import torch

from support.equations.algebra import conv2d, softmax


def bra(heads, side, count):
    def equation(x, p, scale, train):
        channels, height, width = x.shape[1:]
        qkv = conv2d(x, p["qkv.weight"], p["qkv.bias"])
        tall, wide = math.ceil(height / side), math.ceil(width / side)
        regions = [
            [(i, j) for i in range(top, min(top + tall, height)) for j in range(left, min(left + wide, width))]
            for top in range(0, height, tall)
            for left in range(0, width, wide)
        ]
        images = []
        for one in qkv:
            q, k, v = ([torch.stack([part[:, i, j] for i, j in r]) for r in regions] for part in one.chunk(3))
            means = [torch.stack([rows.mean(0) for rows in of]) for of in (q, k)]  # (regions, C)
            affinity = (means[0] @ means[1].T).detach()
            attended = []
            for here, row in enumerate(affinity.tolist()):
                nearest = sorted(range(len(regions)), key=row.__getitem__, reverse=True)[:count]
                keys, values = (torch.cat([of[other] for other in nearest]) for of in (k, v))
                by_head = [
                    softmax(a @ b.T / math.sqrt(channels)) @ c
                    for a, b, c in zip(*(t.chunk(heads, 1) for t in (q[here], keys, values)), strict=True)
                ]
                attended.append(torch.cat(by_head, 1))
            places = torch.tensor([i * width + j for region in regions for i, j in region])
            images.append(torch.cat(attended)[places.argsort()].T.unflatten(1, (height, width)))
        local = conv2d(qkv[:, 2 * channels :], p["local.weight"], p["local.bias"], channels)
        return x + conv2d(torch.stack(images) + local, p["out.weight"], p["out.bias"])

    return equation


CASES = [  # block, channels, arguments, equation
    ("BRA", 16, {}, bra(8, 7, 4)),
    ("BRA", 12, {"regions": 2, "topk": 2}, bra(6, 2, 2)),  # 8 heads do not divide 12 channels
    ("BRA", 8, {"heads": 2, "regions": 3, "topk": 9, "kernel_size": 3}, bra(2, 3, 9)),
    ("BRA", 8, {"heads": 1, "regions": 1, "topk": 1}, bra(1, 1, 1)),
]
