"""Equations of SE, ECA, GC, NL, SNL, CA, CBAM, cSE, sSE, scSE, ELA, SGE and GCT, and the cases to compare them in."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from support.equations.algebra import EPS, batch_norm, conv1d, mlp, sigmoid, softmax


def se(x, p, scale, train):
    return x * scale * sigmoid(mlp(x.mean((2, 3)), p, "squeeze", "excite"))[:, :, None, None]


def eca(x, p, scale, train):
    z = conv1d(x.mean((2, 3))[:, None], p["conv.weight"], 1) + p.get("conv.bias", 0)
    return x * scale * sigmoid(z).transpose(1, 2)[..., None]


def context(x, p):  # (N, C)
    if "mask.weight" not in p:
        return x.mean((2, 3))
    weights = softmax(torch.einsum("c,nchw->nhw", p["mask.weight"].flatten(), x).flatten(1))
    return torch.einsum("nl,ncl->nc", weights, x.flatten(2))


def gc(x, p, scale, train):
    y, c = x, context(x, p)
    if "mul_transform.up.weight" in p:
        z = mlp(c, p, "mul_transform.down", "mul_transform.up", "mul_transform.norm")
        y = y * scale * sigmoid(z)[:, :, None, None]
    if "add_transform.up.weight" in p:
        y = y + mlp(c, p, "add_transform.down", "add_transform.up", "add_transform.norm")[:, :, None, None]
    return y


def snl(x, p, scale, train):
    z = context(x, p) @ p["value.weight"][:, :, 0, 0].T + p["value.bias"]
    return x + z[:, :, None, None]


def nl(mode):
    def equation(x, p, scale, train):
        def embed(name):  # (N, HW, inner)
            return x.flatten(2).transpose(1, 2) @ p[f"{name}.weight"][:, :, 0, 0].T + p[f"{name}.bias"]

        theta, phi, g = embed("theta"), embed("phi"), embed("g")
        y = torch.zeros_like(x)
        for i in range(theta.shape[1]):  # one query at a time
            f = torch.einsum("nd,njd->nj", theta[:, i], phi)
            f = softmax(f) if mode == "embedded_gaussian" else f / theta.shape[1]
            out = torch.einsum("nj,njd->nd", f, g) @ p["out.weight"][:, :, 0, 0].T + p["out.bias"]
            y[:, :, i // x.shape[3], i % x.shape[3]] = out
        return x + y

    return equation


def ca(x, p, scale, train):
    def conv(z, name):
        weight, bias = p[f"{name}.weight"][:, :, 0, 0], p[f"{name}.bias"]
        return torch.einsum("oc,nchw->nohw", weight, z) + bias[:, None, None]

    rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
    f = batch_norm(conv(torch.cat((rows, columns), 2), "reduce"), p, "norm", train)
    f = f * (f + 3).clamp(0, 6) / 6
    f_h, f_w = f[:, :, : x.shape[2]], f[:, :, x.shape[2] :].transpose(2, 3)
    return x * scale * sigmoid(conv(f_h, "conv_h")) * scale * sigmoid(conv(f_w, "conv_w"))


def cbam(x, p, scale, train):
    z = sum(mlp(v, p, "squeeze", "excite") for v in (x.mean((2, 3)), x.flatten(2).max(2).values))
    x = x * scale * sigmoid(z)[:, :, None, None]
    pooled = torch.stack((x.max(1).values, x.mean(1)), 1)
    weight = p["conv.weight"]
    columns = F.unfold(pooled, weight.shape[2:], padding=weight.shape[2] // 2)  # (N, 2kk, HW)
    z = (weight.flatten(1) @ columns).unflatten(2, x.shape[2:])
    return x * scale * sigmoid(batch_norm(z, p, "norm", train))


def sse(x, p, scale, train):
    z = torch.einsum("c,nchw->nhw", p["conv.weight"].flatten(), x) + p.get("conv.bias", 0)
    return x * scale * sigmoid(z)[:, None]


def scse(combine):
    def equation(x, p, scale, train):
        c_part = {k[4:]: v for k, v in p.items() if k.startswith("cse.")}
        s_part = {k[4:]: v for k, v in p.items() if k.startswith("sse.")}
        one = scale if combine in ("max", "mul") else 1
        by_c, by_s = se(x, c_part, one, train), sse(x, s_part, one, train)
        if combine == "add":
            return by_c + by_s
        if combine == "max":
            return torch.where(by_c > by_s, by_c, by_s)
        if combine == "mul":
            return by_c * (by_s / x)  # the gates multiply, x stays linear
        y = torch.einsum("oc,nchw->nohw", p["proj.weight"][:, :, 0, 0], torch.cat((by_c, by_s), 1))
        return y + x if scale == 2 else y

    return equation


def ela(conv_groups, norm_groups):
    def equation(x, p, scale, train):
        def gate(strip):  # (N, C, L)
            z = conv1d(strip, p["conv.weight"], conv_groups)
            z = z + p["conv.bias"][:, None] if "conv.bias" in p else z
            parts = []
            for part in z.chunk(norm_groups, 1):
                mean, var = part.mean((1, 2), keepdim=True), part.var((1, 2), unbiased=False, keepdim=True)
                parts.append((part - mean) / (var + EPS).sqrt())
            z = torch.cat(parts, 1) * p["norm.weight"][:, None] + p["norm.bias"][:, None]
            return scale * sigmoid(z)

        return x * gate(x.mean(3))[:, :, :, None] * gate(x.mean(2))[:, :, None, :]

    return equation


def sge(groups):
    def equation(x, p, scale, train):
        out = []
        for i, part in enumerate(x.chunk(groups, 1)):
            t = (part * part.mean((2, 3), keepdim=True)).sum(1)  # (N, H, W)
            n = t.shape[1] * t.shape[2]
            centred = t - t.sum((1, 2), keepdim=True) / n
            std = ((centred**2).sum((1, 2), keepdim=True) / (n - 1)).sqrt()
            z = centred / (std + 1e-5) * p["weight"][i] + p["bias"][i]
            out.append(part * scale * sigmoid(z)[:, None])
        return torch.cat(out, 1)

    return equation


def gct(norm, eps):
    def equation(x, p, scale, train):
        squares, sizes = (x**2).sum((2, 3)), x.abs().sum((2, 3))  # (N, C)
        alpha, gamma, beta = (p[name].flatten() for name in ("alpha", "gamma", "beta"))
        s = alpha * ((squares + eps) ** 0.5 if norm == "l2" else sizes)
        of_all = ((s**2).sum(1) / s.shape[1] + eps) ** 0.5 if norm == "l2" else s.abs().sum(1) / s.shape[1] + eps
        z = torch.exp(2 * (gamma * s / of_all[:, None] + beta))
        return x * (1 + (z - 1) / (z + 1))[:, :, None, None]

    return equation


CASES = [  # block, channels, arguments, equation
    ("SE", 24, {}, se),
    ("SE", 64, {"reduction": 8, "bias": True}, se),
    ("ECA", 16, {}, eca),
    ("ECA", 64, {"kernel_size": 7}, eca),
    ("ECA", 32, {"gamma": 1, "b": 2}, eca),
    ("ECA", 32, {"kernel_size": 3, "bias": True}, eca),
    ("GC", 16, {}, gc),
    ("GC", 16, {"pooling": "avg"}, gc),
    ("GC", 16, {"fusion": "mul"}, gc),
    ("GC", 32, {"fusion": "add+mul", "reduction": 2}, gc),
    ("GC", 16, {"fusion": "add+mul", "pooling": "avg"}, gc),
    ("NL", 16, {}, nl("embedded_gaussian")),
    ("NL", 16, {"mode": "dot_product", "reduction": 4}, nl("dot_product")),
    ("SNL", 16, {}, snl),
    ("CA", 16, {}, ca),
    ("CA", 32, {"reduction": 2}, ca),
    ("CBAM", 16, {}, cbam),
    ("CBAM", 32, {"reduction": 4, "kernel_size": 3}, cbam),
    ("cSE", 16, {}, se),
    ("cSE", 16, {"reduction": 4, "bias": True}, se),
    ("sSE", 16, {}, sse),
    ("sSE", 16, {"bias": True}, sse),
    ("scSE", 16, {}, scse("add")),
    ("scSE", 16, {"combine": "add", "bias": True}, scse("add")),
    ("scSE", 16, {"combine": "max"}, scse("max")),
    ("scSE", 16, {"combine": "mul"}, scse("mul")),
    ("scSE", 16, {"combine": "concat", "reduction": 4}, scse("concat")),
    ("ELA", 32, {}, ela(32, 16)),
    ("ELA", 64, {"variant": "T"}, ela(64, 32)),
    ("ELA", 48, {"variant": "T"}, ela(48, 24)),  # 32 does not divide 48
    ("ELA", 32, {"variant": "S"}, ela(4, 16)),
    ("ELA", 12, {"variant": "L"}, ela(2, 12)),  # neither 8 nor 16 divides 12
    ("ELA", 16, {"kernel_size": 3, "conv_groups": 4, "norm_groups": 2}, ela(4, 2)),
    ("ELA", 32, {"conv_groups": 1, "bias": True}, ela(1, 16)),
    ("SGE", 16, {}, sge(8)),
    ("SGE", 24, {"groups": 3}, sge(3)),
    ("GCT", 16, {}, gct("l2", 1e-5)),
    ("GCT", 16, {"mode": "l1"}, gct("l1", 1e-5)),
    ("GCT", 8, {"eps": 0.5}, gct("l2", 0.5)),
]
