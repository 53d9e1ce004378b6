"""Numerical edge cases of every block: huge, tiny, empty, NaN and infinite inputs, all dtypes, odd shapes."""

import itertools
import math
import warnings

import pytest
import torch
from support.block_cases import HALVES, IDS, INITS, VARIANTS, few_first, make, rand
from support.tiers import sampled

from yolo_attn.blocks import ATTENTION_BLOCKS

pytestmark = pytest.mark.usefixtures("one_thread")

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
EDGES = [(1, 1, 1), (2, 1, 1), (2, 1, 9), (2, 9, 1), (1, 1, 1280), (1, 1280, 1), (0, 5, 7), (0, 1, 1)]  # N, H, W
ODD_WIDTHS = [1, 2, 3, 5, 7, 13, 31, 97, 127, 255, 1280]
LARGEST = {torch.float16: 1e4, torch.bfloat16: 1e30, torch.float32: 1e30, torch.float64: 1e150}
PRODUCTS = {"GC": 2, "ELA": 2, "SGE": 2, "NL": 2, "GCT": 2, "SimAM": 2, "SRM": 2, "SEAM": 1.1}
PRODUCTS |= dict.fromkeys(("LSKA", "LSK", "MSCA", "CPCA", "SCSA", "BRA"), 2)
"""Number of values of the input that a block multiplies: deviations of a norm, similarities. Beyond that root of the
largest number the product overflows, and the output is NaN. SEAM has a gate up to e."""

DOCUMENTED = (".*the largest that fits", "NL: ")


@pytest.fixture(autouse=True)
def no_other_warnings():
    """Fail on any warning but the documented ones: adapted norm groups, and the matrix of a large map."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for start in DOCUMENTED:
            warnings.filterwarnings("ignore", message=start)
        yield


def products(name, kwargs):
    if kwargs.get("channel_sigmoid") is False:  # a factor without bound
        return 2
    return 3 if "dot_product" in kwargs.values() else PRODUCTS.get(name, 1)


def finite(*tensors):
    return all(torch.isfinite(t).all() for t in tensors if t is not None)


def step(block, x):
    """Run a block forward and backward; return the output and all gradients."""
    x = x.clone().requires_grad_()
    y = block(x)
    (y.float() if y.dtype in (torch.float16, torch.bfloat16) else y).mul(1e-3).sum().backward()
    return y, [x.grad, *(p.grad for p in block.parameters())]


@few_first
def test_odd_shapes(name, kwargs, record_property):
    cases = list(itertools.product(DTYPES, (True, False), EDGES))
    for dtype, train, (n, h, w) in cases:
        block = make(name, kwargs).to(dtype).train(train)
        y, gradients = step(block, rand(n, 16, h, w, dtype=dtype))
        assert y.shape == (n, 16, h, w), (dtype, train)
        assert y.dtype == dtype, (train, n, h, w)
        assert finite(y, *gradients), (dtype, train, n, h, w)
    record_property("faults", len(cases))


@pytest.mark.parametrize("name", sampled(ATTENTION_BLOCKS, ["SCSA"], "slow"))
@pytest.mark.parametrize("dtype", HALVES)
def test_a_traced_block_gives_the_same_in_half_precision(name, dtype):
    """A converter stores the constants of a graph in the precision of the weights."""
    block = make(name, {}, random=False).to(dtype).eval()
    x = rand(2, 16, 20, 20, dtype=dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(block, x)(x)
        torch.testing.assert_close(traced.float(), block(x).float(), atol=0.05, rtol=0.05)


@few_first
def test_odd_widths_work_or_are_refused(name, kwargs, record_property):
    refused = {}
    widths = ODD_WIDTHS[:-1] if name == "SK" else ODD_WIDTHS  # 1280 channels are 500 MB of convolutions
    for channels, init in itertools.product(widths, INITS):
        try:
            block = make(name, kwargs, channels, init, random=False)
        except ValueError as error:
            refused[channels] = str(error)
            continue
        y, gradients = step(block, rand(2, channels, 3, 2))
        assert finite(y, *gradients), (channels, init)
    assert all(str(channels) in said for channels, said in refused.items()), refused
    record_property("faults", len(ODD_WIDTHS) * len(INITS))


@few_first
def test_huge_and_tiny_numbers(name, kwargs, record_property):
    count = 0
    for dtype in DTYPES:
        largest, tiny = LARGEST[dtype] ** (1 / products(name, kwargs)), float(torch.finfo(dtype).tiny)
        for scale, train in itertools.product([tiny, tiny / 8, 1e-3, 1.0, math.sqrt(largest), largest], (True, False)):
            block = make(name, kwargs, 64, random=False).to(dtype).train(train)
            x = (rand(2, 64, 6, 5, dtype=torch.float64).clamp(-3, 3) * scale).to(dtype)
            assert finite(block(x)), (dtype, scale, train)
            count += 1
    record_property("faults", count)


@few_first
def test_gradients_of_large_and_tiny_numbers(name, kwargs, record_property):
    count = 0
    for dtype in DTYPES:
        largest = min(100.0, LARGEST[dtype] ** (1 / products(name, kwargs)))
        for scale in [float(torch.finfo(dtype).tiny), 1e-3, 1.0, largest]:
            block = make(name, kwargs, 64, random=False).to(dtype)
            _, gradients = step(block, (rand(2, 64, 6, 5, dtype=torch.float64) * scale).to(dtype))
            assert finite(*gradients), (dtype, scale)
            count += 1
    record_property("faults", count)


@few_first
def test_constant_maps(name, kwargs, record_property):
    count = 0
    for dtype in DTYPES:
        largest = min(100.0, LARGEST[dtype] ** (1 / products(name, kwargs)))
        for value in [0.0, 1.0, -1.0, -3.0, largest, float(torch.finfo(dtype).tiny)]:
            for train in (True, False):
                block = make(name, kwargs).to(dtype).train(train)
                y, gradients = step(block, torch.full((2, 16, 4, 5), value, dtype=dtype))
                assert finite(y, *gradients), (dtype, value, train)
                count += 1
    record_property("faults", count)


@few_first
def test_what_is_not_a_number_is_not_hidden(name, kwargs):
    """A wrong value stays visible where it was, so that a loss becomes NaN and a trainer notices."""
    for value, init, train in itertools.product([math.nan, math.inf, -math.inf], INITS, (True, False)):
        block = make(name, kwargs, init=init, random=False).train(train)
        x = rand(2, 16, 5, 7)
        x[1, 3, 2, 4] = value
        y = block(x)
        there = y[1, :, 2, 4] if getattr(block, "shuffle", False) else y[1, 3, 2, 4]
        assert not torch.isfinite(there).all(), (value, init, train)
        if not train:
            assert finite(y[0]), (value, init, "another image of the batch was spoiled")


@few_first
def test_wide_maps(name, kwargs):
    for dtype in DTYPES:
        block = make(name, kwargs, 8 if kwargs != {"groups": 4} else 4).to(dtype).eval()
        with torch.no_grad():
            assert finite(block(rand(1, block.channels, 3, 1280, dtype=dtype))), dtype


def test_every_block_is_tried():
    assert {name for name, _ in VARIANTS} == set(ATTENTION_BLOCKS)
    assert len(IDS) == len(set(IDS))
