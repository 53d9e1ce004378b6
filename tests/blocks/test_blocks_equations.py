"""Every block against its equations, and against its parameter count."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from support.block_cases import ADAPTED, WIDTHS
from support.equations import CASES, case_id, randomized
from support.tiers import sampled

from yolo_attn.blocks import ATTENTION_BLOCKS

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings(ADAPTED)]


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


LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.mark.parametrize(
    ("init", "mode", "layout"),
    sampled(
        itertools.product(["paper", "identity"], ["train", "eval"], LAYOUTS),
        [("paper", "train", "contiguous"), ("identity", "eval", "channels_last")],
        "slow",
    ),
)
@pytest.mark.parametrize(("name", "channels", "kwargs", "equation"), CASES, ids=case_id)
def test_its_gradients_are_those_of_its_equations(name, channels, kwargs, equation, init, mode, layout):
    block = randomized(ATTENTION_BLOCKS[name](channels, **kwargs, init=init).double()).train(mode == "train")
    for size in [(4, 5), (3, 3), (1, 6), (6, 1)]:
        generator = torch.Generator().manual_seed(2)
        shape = (4, channels, *size)  # batch statistics of two averages would have nearly no gradient
        x, gy = (
            torch.randn(shape, dtype=torch.float64, generator=generator).to(memory_format=LAYOUTS[layout]) for _ in "xy"
        )
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
            message = f"{what} at {size}: {{}}".format
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=message)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(("name", "channels", "kwargs", "equation"), CASES, ids=case_id)
def test_maps_of_each_size_class_match_the_equations(name, channels, kwargs, equation, layout):
    """Blocks choose other operations from 256 positions on, from 512 on, and where no gradient is recorded."""
    block = randomized(ATTENTION_BLOCKS[name](channels, **kwargs).double()).eval()
    for size in [(3, 4), (15, 18), (23, 24)]:
        generator = torch.Generator().manual_seed(3)
        shape = (2, channels, *size)
        x, gy = (torch.randn(shape, dtype=torch.float64, generator=generator).to(memory_format=layout) for _ in "xy")
        x.requires_grad_()
        learned = dict(block.named_parameters())
        expected = equation(x, block.state_dict() | learned, 1, False)
        found = block(x)
        with torch.no_grad():
            inferred = block(x)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10, msg=f"{size}: {{}}".format)
        torch.testing.assert_close(inferred, expected, rtol=1e-10, atol=1e-10, msg=f"{size}, no grad: {{}}".format)
        wanted = torch.autograd.grad(expected, [x, *learned.values()], gy, allow_unused=True)
        for what, one, other in zip(
            ["x", *learned], torch.autograd.grad(found, [x, *learned.values()], gy), wanted, strict=True
        ):
            other = torch.zeros_like(one) if other is None else other
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=f"{what} at {size}: {{}}".format)


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


def bam_count(c):
    h = max(4, c // 16)
    return (2 * c * h + 3 * h + c) + (c * h + 3 * h) + 2 * (9 * h * h + 3 * h) + h + 1  # channel, reduce, 3x3, project


def gam_count(c, groups=1):
    h = c // 4
    return 2 * (c * h + 49 * c * h // groups) + 2 * (h + c) + 2 * (h + c)  # weights, biases, BatchNorms


def strips_count(*lengths):
    """Return the parameters per channel of pairs of depthwise convolutions with biases."""
    return sum(2 * (length + 1) for length in lengths)


def lsk_count(c):
    half = c // 2
    return c * (25 + 1 + 49 + 1) + 2 * (c * half + half) + 2 * 2 * 49 + 2 + half * c + c


def cpca_count(c):
    return c * c + c + 2 * c * (c // 4) + c // 4 + c + c * (26 + strips_count(7, 11, 21))


def seam_count(c, depth=1):
    return depth * (c * (9 + 1) + c * c + c + 4 * c) + 2 * c * max(c // 16, 1)


def sk_count(c):
    hidden = max(c // 16, 32)
    return (1 + 9 + 25 + 49) * c * c + 4 * 3 * c + (c + 1) * hidden + 4 * (hidden + 1) * c


def sk_paper_count(c):
    hidden = max(c // 16, 32)
    return 2 * (9 * c * c // fits(c, 32) + 2 * c) + c * hidden + 2 * hidden + 2 * hidden * c


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
    ("SimAM", {}, lambda c: 0),
    ("LSKA", {}, lambda c: c * strips_count(3, 5) + c * c + c),
    ("LSKA", {"kernel_size": 7}, lambda c: c * strips_count(3, 3) + c * c + c),
    ("LSKA", {"kernel_size": 23}, lambda c: c * strips_count(5, 7) + c * c + c),
    ("LSKA", {"kernel_size": 53}, lambda c: c * strips_count(5, 17) + c * c + c),
    ("LSK", {}, lsk_count),
    ("CAA", {}, lambda c: 2 * (c * c + 2 * c) + c * strips_count(11)),
    ("CAA", {"kernel_size": 5}, lambda c: 2 * (c * c + 2 * c) + c * strips_count(5)),
    ("MSCA", {}, lambda c: c * (26 + strips_count(7, 11, 21)) + c * c + c),
    ("CPCA", {}, cpca_count),
    ("SCSA", {}, lambda c: 16 * c),
    ("SCSA", {"window": 2, "heads": 4}, lambda c: 16 * c),
    ("SEAM", {}, seam_count),
    ("SEAM", {"depth": 2}, lambda c: seam_count(c, 2)),
    ("SK", {}, sk_count),
    ("SK", {"form": "paper"}, sk_paper_count),
    ("BRA", {}, lambda c: 4 * c * c + 4 * c + 26 * c),
    ("BRA", {"heads": 2, "regions": 3, "topk": 2, "kernel_size": 3}, lambda c: 4 * c * c + 4 * c + 10 * c),
    ("GAM", {}, gam_count),
    ("GAM", {"groups": 2}, lambda c: gam_count(c, 2)),
    ("EMA", {}, lambda c: 10 * (c // fits(c, 32)) ** 2 + 4 * (c // fits(c, 32))),
    ("EMA", {"factor": 8}, lambda c: 10 * (c // 8) ** 2 + 4 * (c // 8)),
    ("Triplet", {}, lambda c: 300),
    ("Triplet", {"kernel_size": 3}, lambda c: 60),
    ("SA", {}, lambda c: 3 * c // fits(c // 2, 64)),
    ("SA", {"groups": 4, "shuffle": False}, lambda c: 3 * c // 4),
    ("MLCA", {}, lambda c: 2 * adaptive_kernel(c)),
    ("SRM", {}, lambda c: 4 * c),
    ("ESE", {}, lambda c: c * c + c),
    ("BAM", {}, bam_count),
]


def parameters(name, c, **kwargs):
    with torch.device("meta"):
        return sum(p.numel() for p in ATTENTION_BLOCKS[name](c, **kwargs).parameters())


@pytest.mark.parametrize(("name", "kwargs", "formula"), COUNTS, ids=case_id)
def test_parameter_counts_follow_the_closed_forms(name, kwargs, formula):
    counted = {c: parameters(name, c, **kwargs) for c in WIDTHS}
    assert counted == {c: formula(c) for c in WIDTHS}
    blended = ATTENTION_BLOCKS[name](16, **kwargs, init="identity").blends
    assert counted == {c: parameters(name, c, **kwargs, init="identity") - blended for c in WIDTHS}


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
        ("Triplet", 64, {}, 4_800 // 16),  # the paper's ResNet-50: 4.8 K more parameters in 16 blocks
        ("GAM", 64, {}, 102_720),
        ("EMA", 64, {}, 48),
        ("EMA", 64, {"factor": 8}, 672),
        ("SA", 64, {"groups": 64}, 6),
        ("CA", 512, {}, 3 * 512 * 16 + 3 * 16 + 2 * 512),
        ("cSE", 1, {}, 2),
        ("NL", 1, {}, 8),
        ("LSKA", 64, {}, 5440),
        ("LSK", 64, {}, 11334),
        ("CAA", 64, {}, 9984),
        ("MSCA", 64, {}, 11200),
        ("CPCA", 64, {}, 13328),
        ("SCSA", 64, {}, 1024),
        ("SEAM", 64, {}, 5568),
        ("SEAM", 8, {}, 8 * 10 + 8 * 8 + 8 + 4 * 8 + 2 * 8),  # one hidden channel
        ("CPCA", 2, {}, 2 * 2 + 2 + 2 * 2 + 1 + 2 + 2 * (26 + 84)),
        ("LSK", 1, {}, 76 + 2 * 2 + 198 + 2),
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
