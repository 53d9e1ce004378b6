"""Equations of SimAM, GAM and BAM, whose gates differ for every value, and the cases to compare them in."""

from __future__ import annotations

import torch

from support.equations.algebra import batch_norm, blend, conv2d, relu, sigmoid


def simam(eps):
    def equation(x, p, scale, train):
        n = x.shape[2] * x.shape[3]
        squares = (x - x.sum((2, 3), keepdim=True) / n) ** 2
        v = squares.sum((2, 3), keepdim=True) / max(n - 1, 1)
        return blend(x, x * sigmoid(squares / (4 * (v + eps)) + 0.5), p)

    return equation


def shuffled(z, groups):
    """Channel k of the result is number k // groups of group k % groups."""
    width = z.shape[1] // groups
    return torch.stack([z[:, k % groups * width + k // groups] for k in range(z.shape[1])], 1)


def gam(groups, with_sigmoid, of="hidden"):
    def equation(x, p, scale, train):
        hidden = torch.einsum("oc,nchw->nohw", p["squeeze.weight"], x) + p["squeeze.bias"][:, None, None]
        z = torch.einsum("oc,nchw->nohw", p["excite.weight"], relu(hidden)) + p["excite.bias"][:, None, None]
        x = x * (scale * sigmoid(z) if with_sigmoid else z)
        z = conv2d(x, p["conv1.weight"], p["conv1.bias"], groups)
        z = shuffled(relu(batch_norm(z, p, "norm1", train)), groups if of == "hidden" else 1)
        z = conv2d(z, p["conv2.weight"], p["conv2.bias"], groups)
        return x * scale * shuffled(sigmoid(batch_norm(z, p, "norm2", train)), groups if of == "gate" else 1)

    return equation


def bam(dilation, combine=torch.add):
    def equation(x, p, scale, train):
        def normalised(z, conv, norm, dilation=1):
            weight, bias = p[f"{conv}.weight"], p[f"{conv}.bias"]
            weight = weight if weight.dim() == 4 else weight[:, :, None, None]
            return relu(batch_norm(conv2d(z, weight, bias, dilation=dilation), p, norm, train))

        c = normalised(x.mean((2, 3), keepdim=True), "squeeze", "norm")
        c = torch.einsum("oc,nchw->nohw", p["excite.weight"], c) + p["excite.bias"][:, None, None]
        s = normalised(normalised(x, "reduce", "norm0"), "conv1", "norm1", dilation)
        s = conv2d(normalised(s, "conv2", "norm2", dilation), p["project.weight"], p["project.bias"])
        return blend(x, x * (1 + sigmoid(combine(c, s))), p)

    return equation


CASES = [  # block, channels, arguments, equation
    ("SimAM", 8, {}, simam(1e-4)),
    ("SimAM", 8, {"eps": 0.5}, simam(0.5)),
    ("GAM", 16, {}, gam(1, True)),
    ("GAM", 16, {"channel_sigmoid": False, "reduction": 2}, gam(1, False)),
    ("GAM", 24, {"groups": 2, "reduction": 6}, gam(2, True)),
    ("GAM", 16, {"groups": 4, "shuffle": "gate"}, gam(4, True, "gate")),
    ("BAM", 16, {}, bam(4)),
    ("BAM", 32, {"reduction": 4, "dilation": 2}, bam(2)),
    ("BAM", 16, {"combine": "mul"}, bam(4, torch.mul)),
]
