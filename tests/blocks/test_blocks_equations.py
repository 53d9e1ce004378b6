"""Every block against its equations, stated a second time in plain tensor algebra, and against its parameter count.

Nothing here uses ``nn.Module`` or a function of the package: convolutions are unfolded, normalisations written out.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from yolo_attn.blocks import ATTENTION_BLOCKS

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:ELA:UserWarning")]

WIDTHS = [8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192]
WIDTHS += [240, 256, 320, 360, 384, 480, 512, 576, 640, 768, 1024, 1280]
EPS = 1e-5


def sigmoid(z):
    return 1 / (1 + torch.exp(-z))


def relu(z):
    return z.clamp(min=0)


def softmax(z):  # over the last dimension
    e = torch.exp(z)
    return e / e.sum(-1, keepdim=True)


def batch_norm(z, p, name, train):  # (N, C, H, W)
    mean, var = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    if train:
        mean, var = z.mean((0, 2, 3)), z.var((0, 2, 3), unbiased=False)
    z = (z - mean[:, None, None]) / (var[:, None, None] + EPS).sqrt()
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


def se(x, p, scale, train):
    return x * scale * sigmoid(mlp(x.mean((2, 3)), p, "squeeze", "excite"))[:, :, None, None]


def eca(x, p, scale, train):
    z = conv1d(x.mean((2, 3))[:, None], p["conv.weight"], 1)
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
    ("SGE", 16, {}, sge(8)),
    ("SGE", 24, {"groups": 3}, sge(3)),
    ("GCT", 16, {}, gct("l2", 1e-5)),
    ("GCT", 16, {"mode": "l1"}, gct("l1", 1e-5)),
    ("GCT", 8, {"eps": 0.5}, gct("l2", 0.5)),
]


def case_id(value):
    if isinstance(value, dict):
        return "-".join(f"{k}={v}" for k, v in value.items()) or "default"
    return "" if callable(value) else str(value)


def randomized(block):
    """Give every parameter and every running statistic a value that is not special."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
            tensor.data.copy_(values.abs() + 0.5 if name.endswith("running_var") else 1.5 * values / fan_in**0.5)
    return block


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("init", ["paper", "identity"])
@pytest.mark.parametrize(("name", "channels", "kwargs", "equation"), CASES, ids=case_id)
def test_matches_its_equations(name, channels, kwargs, equation, init, mode):
    block = randomized(ATTENTION_BLOCKS[name](channels, **kwargs, init=init).double())
    p = {k: v.clone() for k, v in block.state_dict().items()}
    x = torch.randn(3, channels, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y = block.train(mode == "train")(x)
    expected = equation(x, p, 2 if init == "identity" else 1, mode == "train")
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert (y - x).abs().max() > 1e-2, "the parameters of this test leave the block without effect"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("init", ["paper", "identity"])
@pytest.mark.parametrize(("name", "channels", "kwargs", "equation"), CASES, ids=case_id)
def test_its_gradients_are_those_of_its_equations(name, channels, kwargs, equation, init, mode, layout):
    block = randomized(ATTENTION_BLOCKS[name](channels, **kwargs, init=init).double()).train(mode == "train")
    for size in [(4, 5), (3, 3), (1, 6), (6, 1)]:
        generator = torch.Generator().manual_seed(2)
        shape = (2, channels, *size)
        x, gy = (torch.randn(shape, dtype=torch.float64, generator=generator).to(memory_format=layout) for _ in "xy")
        x.requires_grad_()
        learned = dict(block.named_parameters())
        p = {k: v.clone() for k, v in block.state_dict().items()} | learned
        expected = torch.autograd.grad(
            equation(x, p, 2 if init == "identity" else 1, mode == "train"),
            [x, *learned.values()],
            gy,
            allow_unused=True,
        )
        found = torch.autograd.grad(block(x), [x, *learned.values()], gy)
        for what, one, other in zip(["x", *learned], found, expected, strict=True):
            other = torch.zeros_like(one) if other is None else other
            say = f"{what} at {size}: {{}}".format
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=say)


def test_every_block_has_an_equation():
    assert {case[0] for case in CASES} == set(ATTENTION_BLOCKS)


# -------------------------------------------------------------------------------------------------- parameter counts


def adaptive_kernel(c, gamma=2, b=1):
    t = int(abs((math.log2(c) + b) / gamma))
    return t if t % 2 else t + 1


def fits(c, limit):
    return max(d for d in range(1, limit + 1) if c % d == 0)


def ela_count(kernel, width, groups):
    return lambda c: kernel * c * fits(c, width) + 2 * c


def gc_branch(c, r=16):
    h = max(c // r, 8)
    return 2 * c * h + 3 * h + c  # two layers, two biases, LayerNorm


def ca_count(c):
    m = max(8, c // 32)
    return 3 * c * m + 3 * m + 2 * c


def cbam_count(c):
    h = max(4, c // 16)
    return 2 * c * h + h + c + 100


COUNTS = [  # block, arguments, parameters at width c
    ("SE", {}, lambda c: 2 * c * max(4, c // 16)),
    ("SE", {"bias": True}, lambda c: 2 * c * max(4, c // 16) + c + max(4, c // 16)),
    ("ECA", {}, adaptive_kernel),
    ("ECA", {"kernel_size": 9}, lambda c: 9),
    ("GC", {}, lambda c: gc_branch(c) + c + 1),
    ("GC", {"pooling": "avg", "fusion": "mul"}, gc_branch),
    ("GC", {"fusion": "add+mul"}, lambda c: 2 * gc_branch(c) + c + 1),
    ("NL", {}, lambda c: 2 * c * c + 5 * c // 2),
    ("SNL", {}, lambda c: c * c + 2 * c + 1),
    ("CA", {}, ca_count),
    ("CBAM", {}, cbam_count),
    ("cSE", {}, lambda c: c * c),
    ("cSE", {"bias": True}, lambda c: c * c + 3 * c // 2),
    ("sSE", {}, lambda c: c),
    ("sSE", {"bias": True}, lambda c: c + 1),
    ("scSE", {}, lambda c: c * c + c),
    ("scSE", {"combine": "concat"}, lambda c: 3 * c * c + c),
    ("ELA", {"variant": "T"}, lambda c: 7 * c),
    ("ELA", {"variant": "B"}, lambda c: 9 * c),
    ("ELA", {"variant": "S"}, lambda c: 42 * c),
    ("ELA", {"variant": "L"}, lambda c: 58 * c),
    ("SGE", {}, lambda c: 16),
    ("SGE", {"groups": 4}, lambda c: 8),
    ("GCT", {}, lambda c: 3 * c),
]


def parameters(name, c, **kwargs):
    return sum(p.numel() for p in ATTENTION_BLOCKS[name](c, **kwargs).parameters())


@pytest.mark.parametrize(("name", "kwargs", "formula"), COUNTS, ids=case_id)
def test_parameter_counts_follow_the_closed_forms(name, kwargs, formula):
    counted = {c: parameters(name, c, **kwargs) for c in WIDTHS}
    assert counted == {c: formula(c) for c in WIDTHS}
    assert counted == {c: parameters(name, c, **kwargs, init="identity") for c in WIDTHS}


@pytest.mark.parametrize(
    ("name", "channels", "kwargs", "count"),
    [
        ("ELA", 12, {"variant": "S"}, ela_count(5, 8, 16)(12)),
        ("ELA", 20, {"variant": "L"}, ela_count(7, 8, 16)(20)),
        ("ELA", 7, {"variant": "L"}, 7 * 7 * 7 + 2 * 7),
        ("ELA", 13, {"variant": "T"}, 7 * 13),
        ("SE", 8, {"min_hidden": 1}, 2 * 8),
        ("SE", 256, {}, 2 * 256**2 // 16),
        ("CBAM", 256, {}, 2 * 256**2 // 16 + 256 // 16 + 256 + 100),
        ("GC", 256, {}, 2 * 256**2 // 16 + 3 * 256 // 16 + 2 * 256 + 1),
        ("CA", 512, {}, 3 * 512 * 16 + 3 * 16 + 2 * 512),
        ("cSE", 1, {}, 2),
        ("NL", 1, {}, 8),
    ],
    ids=case_id,
)
def test_parameter_counts_at_floors_and_fallbacks(name, channels, kwargs, count):
    assert parameters(name, channels, **kwargs) == count


@pytest.mark.parametrize(
    ("channels", "kernel"), [(1, 1), (2, 1), (8, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)]
)
def test_eca_kernel_grows_with_the_logarithm_of_the_width(channels, kernel):
    assert ATTENTION_BLOCKS["ECA"](channels).kernel_size == kernel == adaptive_kernel(channels)


def test_papers_initial_values():
    sge_block = ATTENTION_BLOCKS["SGE"](16)
    assert sge_block.weight.eq(0).all()
    assert sge_block.bias.eq(1).all()
    for name in ("GC", "NL", "SNL"):
        x = torch.randn(2, 16, 4, 5)
        assert torch.equal(ATTENTION_BLOCKS[name](16)(x), x), name
