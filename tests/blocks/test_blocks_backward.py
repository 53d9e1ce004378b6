"""Backward pass of the blocks: memory kept for it, and gradients in every mode of autograd."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from support.block_cases import ADAPTED, IDS, VARIANTS, make, rand

from yolo_attn.bench.memory import kept_for_backward
from yolo_attn.blocks import ATTENTION_BLOCKS, base

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings(ADAPTED)]

every_variant = pytest.mark.parametrize(("name", "kwargs"), VARIANTS, ids=IDS)
LAYOUTS = [torch.contiguous_format, torch.channels_last]
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])


def case(name, kwargs, size=(6, 5), layout=torch.contiguous_format):
    block = make(name, kwargs).double()
    x, gy = (rand(2, 16, *size, seed=s, dtype=torch.float64).to(memory_format=layout) for s in (1, 2))
    return block, x.requires_grad_(), gy


def gradients(block, x, gy):
    return torch.autograd.grad(block(x), [x, *block.parameters()], gy)


KEPT = {  # in units of the input's size, without the input: what plain autograd keeps, plus small tensors
    "NL": 2.1,  # three projections and their weighted sum, half a map each
    "CA": 1.26,  # the map times its first gate, and five strips
    "CBAM": 3.1,  # the map times its first gate, and the places of the maxima, in int64
    "ELA": 1.26,  # likewise
    "scSE": 1.1,  # the sum of the gates
    "SGE": 1.26,  # the map in another layout where it is channels last, and four maps of the groups
    "SimAM": 3.1,  # the deviations, their squares, the gate
    "GAM": 5.1,  # the map times its first gate, both gates, the result of the last convolution, five or six at C / r
    "BAM": 2.5,  # 1 plus the gate, the gate, and seven maps at C / r
    "EMA": 4.7,  # the map times its two sigmoids and times one, both branches, and a map for each group
    "Triplet": 1.5,  # the mean of the gates, and pooled planes with the places of their maxima
    "SA": 1.1,  # the gates and a copy of the second half
    "SRM": 1.1,  # the deviations
    "MLCA": 1.1,  # the gates of the cells for each position
    "LSKA": 5.1,  # the input of every further convolution, and the factor
    "LSK": 4.7,
    "MSCA": 6.1,
    "CPCA": 10.1,
    "CAA": 9.1,  # the inputs of convolutions, norms and SiLUs, and the gate
    "SCSA": 3.2,  # the map times each of its first gates, strips and windows
    "SEAM": 5.1,  # the inputs of convolutions, GELUs and norms, but the first
    "BRA": 13.9,  # keys and values of four regions each, queries, values, the attended, and what is projected
    "SK": 8.1,  # of every branch the input of the norm, and its result
}
KEPT_BY_VARIANT = {
    "SEAM-depth=2": 11.1,
    "SK-form=paper": 4.1,
    "BRA-heads=2-regions=2-topk=2": 8.1,
    "scSE-combine=max": 2.1,
    "scSE-combine=concat": 2.1,
    "GC-fusion=add+mul": 0.1,
}


@every_layout
@every_variant
def test_keeps_no_more_maps_than_it_has_to(name, kwargs, layout):
    x = rand(2, 64, 40, 40).to(memory_format=layout).requires_grad_()
    kept = kept_for_backward(make(name, kwargs, channels=64), x)
    limit = KEPT_BY_VARIANT.get(IDS[VARIANTS.index((name, kwargs))], KEPT.get(name, 0.1))
    assert kept.x == ((name, kwargs.get("fusion", "add")) != ("GC", "add") or kwargs.get("pooling") != "avg")
    assert kept.maps < limit, f"{name} keeps {kept.maps:.2f} maps in addition to its input"


@every_layout
@every_variant
def test_keeps_the_layout_of_its_input(name, kwargs, layout):
    block, x, gy = case(name, kwargs, layout=layout)
    y = block(x)
    y.backward(gy)
    assert y.is_contiguous(memory_format=layout)
    assert x.grad.is_contiguous(memory_format=layout)


@every_variant
def test_takes_a_gradient_of_another_layout(name, kwargs):
    block, x, gy = case(name, kwargs)
    expected = gradients(block, x, gy)
    for of_x, of_gy in [LAYOUTS, LAYOUTS[::-1]]:
        mixed = x.detach().to(memory_format=of_x).requires_grad_()
        torch.testing.assert_close(gradients(block, mixed, gy.to(memory_format=of_gy)), expected)


@every_variant
def test_leaves_the_gradient_it_receives_as_it_is(name, kwargs):
    block, x, gy = case(name, kwargs)
    before = gy.clone()
    y = block(x)
    y.retain_grad()
    (y * 1).backward(gy)
    assert torch.equal(gy, before)
    assert torch.equal(y.grad, before)


@every_variant
def test_backward_may_run_twice_or_in_part(name, kwargs):
    block, x, gy = case(name, kwargs)
    expected = gradients(block, x, gy)
    learned = list(block.parameters())
    y = block(x)
    for _ in range(2):
        if learned:
            torch.testing.assert_close(torch.autograd.grad(y, learned, gy, retain_graph=True), expected[1:])
        torch.testing.assert_close(torch.autograd.grad(y, [x], gy, retain_graph=True), expected[:1])
    torch.testing.assert_close(torch.autograd.grad(y, [x, *learned], gy), expected)


@every_variant
def test_frozen_parts_change_no_other_gradient(name, kwargs):
    block, x, gy = case(name, kwargs)
    of_x, *of_parameters = gradients(block, x, gy)
    frozen_input = x.detach()
    if of_parameters:
        found = torch.autograd.grad(block(frozen_input), block.parameters(), gy)
        torch.testing.assert_close(found, tuple(of_parameters))
    block.requires_grad_(False)
    torch.testing.assert_close(torch.autograd.grad(block(x), [x], gy), (of_x,))
    assert not block(frozen_input).requires_grad


@every_variant
def test_the_same_values_with_and_without_gradients(name, kwargs):
    block, x, _ = case(name, kwargs)
    block.eval()
    with torch.inference_mode():
        expected = block(x.detach())
    torch.testing.assert_close(block(x).detach(), expected.clone(), rtol=1e-12, atol=1e-12)


@every_variant
def test_a_sum_of_two_uses_of_the_input(name, kwargs):
    block, x, gy = case(name, kwargs)
    alone = gradients(block, x, gy)[0]
    torch.testing.assert_close(torch.autograd.grad(x + block(x), [x], gy)[0], alone + gy)


@every_variant
def test_its_graph_is_freed_without_the_garbage_collector(name, kwargs):
    block, x, gy = case(name, kwargs)
    gc.disable()
    try:
        z = x * 1
        held = weakref.ref(z)
        block(z)  # its graph is dropped before it was used
        block(z).backward(gy)
        del z
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", sorted(set(ATTENTION_BLOCKS) - {"NL"}))  # torch's attention kernel has none
def test_second_derivatives_match_finite_differences(name):
    block = make(name, {}, 8).double().eval()
    x = rand(1, 8, 2, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(block, (x,), fast_mode=True)


@every_variant
def test_function_transforms_see_plain_operations(name, kwargs):
    block, x, gy = case(name, kwargs)
    block.eval()
    (expected,) = torch.autograd.grad(block(x), [x], gy)
    _, pull = torch.func.vjp(block, x.detach())
    torch.testing.assert_close(pull(gy)[0], expected)


@every_layout
@pytest.mark.parametrize("kwargs", [{}, {"mode": "dot_product"}], ids=str)
def test_nl_of_a_large_map_has_the_gradients_of_plain_algebra(kwargs, layout):
    block, x, gy = case("NL", kwargs, size=(33, 32), layout=layout)
    theta, phi, g = (one(x).flatten(2).transpose(1, 2) for one in (block.theta, block.phi, block.g))
    pairs = theta @ phi.transpose(1, 2)
    weights = pairs / pairs.shape[2] if kwargs else torch.softmax(pairs, 2)
    y = x + block.out((weights @ g).transpose(1, 2).unflatten(2, x.shape[2:]))
    expected = torch.autograd.grad(y, [x, *block.parameters()], gy)
    torch.testing.assert_close(gradients(block, x, gy), expected, rtol=1e-10, atol=1e-10)


def test_nl_of_a_large_map_learns_under_autocast():
    base._WARNED.clear()
    block = make("NL", {})
    x = rand(1, 16, 33, 32).requires_grad_()
    gy = rand(1, 16, 33, 32, seed=2)
    expected = gradients(block, x, gy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    found = torch.autograd.grad(y, [x, *block.parameters()], gy)
    for what, one, other in zip(["x", *(n for n, _ in block.named_parameters())], found, expected, strict=True):
        assert one.dtype == torch.float32
        if what != "phi.bias":  # it has no effect
            assert (one - other).norm() < 0.1 * other.norm(), what


def test_every_block_is_tried():
    assert {name for name, _ in VARIANTS} == set(ATTENTION_BLOCKS)
