"""Contract of every registered block: shapes, dtypes, gradients, initialisation and state."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle
import warnings

import pytest
import torch
from support.block_cases import (
    HALVES,
    IDS,
    IMPORT_PATHS,
    INITS,
    MARKS,
    VARIANTS,
    WIDTHS,
    close,
    defaults_first,
    every_variant,
    few_first,
    make,
    maps,
    rand,
)
from torch import nn

import yolo_attn.blocks
from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.blocks.base import MAPS
from yolo_attn.gates.gate import NAMES
from yolo_attn.show.pictures import SENTENCES

pytestmark = MARKS
# ------------------------------------------------------------------------------------------- shapes, dtypes, layouts


@few_first
def test_takes_every_width(name, kwargs):
    widths = [c for c in WIDTHS if c <= 512] if name == "SK" else WIDTHS  # 1280 channels are 500 MB of convolutions
    for channels, init in itertools.product(widths, INITS):
        x = rand(2, channels, 3, 2)
        y = make(name, kwargs, channels, init, random=False)(x)
        assert y.shape == x.shape, (channels, init)
        assert torch.isfinite(y).all(), (channels, init)


@every_variant
def test_takes_every_map_size_and_learns_there(name, kwargs):
    shapes = [(1, 16, 1, 1), (2, 16, 1, 1), (1, 16, 1, 5), (1, 16, 5, 1), (1, 16, 13, 17), (3, 16, 4, 4)]
    for shape, train in itertools.product(shapes, (True, False)):
        block = make(name, kwargs).train(train)
        x = rand(*shape).requires_grad_()
        y = block(x)
        assert y.shape == x.shape, shape
        assert y.dtype == x.dtype, shape
        assert torch.isfinite(y).all(), shape
        y.square().sum().backward()
        for what, tensor in [("input", x), *block.named_parameters()]:
            assert torch.isfinite(tensor.grad).all(), (what, shape)


@every_variant
def test_keeps_channels_last(name, kwargs):
    block = make(name, kwargs).eval()
    x = rand(2, 16, 5, 7)
    y = block(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert block(x).is_contiguous()
    torch.testing.assert_close(y, block(x))


@every_variant
def test_takes_half_of_a_chunked_tensor(name, kwargs):
    block = make(name, kwargs).eval()
    for layout in (torch.contiguous_format, torch.channels_last):
        part = rand(2, 32, 5, 7).to(memory_format=layout).chunk(2, 1)[1]
        torch.testing.assert_close(block(part), block(part.contiguous()))


@every_variant
def test_images_of_a_batch_do_not_mix_in_eval_mode(name, kwargs):
    block = make(name, kwargs).eval()
    x = rand(3, 16, 5, 7)
    torch.testing.assert_close(block(x), torch.cat([block(one) for one in x.split(1)]))


def where_choices_agree(y, expected, weights, others):
    """Return both outputs, 0 where different positions were chosen: near a tie, rounding decides which."""
    agree = ((weights > 0) == (others > 0)).all(2).view(len(y), 1, *y.shape[2:])
    assert agree.float().mean() > 0.5
    return y * agree, expected * agree


@defaults_first
def test_runs_in_half_precision(name, kwargs):
    for dtype, train in itertools.product(HALVES, (False, True)):
        x = rand(2, 16, 5, 7, dtype=dtype)
        plain, block = make(name, kwargs).train(train), make(name, kwargs).train(train).to(dtype)
        expected, y = plain(x.float()), block(x)
        assert y.dtype == dtype
        if name == "BRA":
            y, expected = where_choices_agree(y, expected, block.attention(x), plain.attention(x.float()))
        close(y.float(), expected, f"{dtype}, train={train}", rtol=0.1, atol=0.1)


@every_variant
def test_keeps_the_dtype_under_autocast(name, kwargs):
    for dtype in (torch.float32, torch.bfloat16):
        block, plain = make(name, kwargs), make(name, kwargs)
        x = rand(2, 16, 5, 7).to(dtype).requires_grad_()
        expected = plain(x.detach().float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = block(x)
            weights = block.attention(x) if name == "BRA" else None
        assert y.dtype == dtype
        found = y.float()
        if weights is not None:
            found, expected = where_choices_agree(found, expected, weights, plain.attention(x.float()))
        close(found, expected, dtype, rtol=0.1, atol=0.1)
        y.float().square().sum().backward()
        wrong = [
            n for n, p in block.named_parameters() if p.grad.dtype != torch.float32 or not torch.isfinite(p.grad).all()
        ]
        assert not wrong, dtype


@pytest.mark.parametrize("name", ["GC", "NL", "SNL"])
def test_what_is_added_takes_the_dtype_of_the_input(name):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert make(name, {})(rand(2, 16, 5, 7).half()).dtype == torch.float16


def test_sge_does_not_overflow_in_half_precision():
    block = make("SGE", {"groups": 2}, 64, random=False)
    nn.init.ones_(block.weight)
    x = 200 + 50 * rand(2, 64, 6, 6)  # 32 channels of 200 * 200 are beyond 65504
    x = x.half().float()
    expected = block(x)
    torch.testing.assert_close(block.half()(x.half()).float(), expected, rtol=5e-3, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(block.float()(x), expected, rtol=1e-5, atol=0)


# --------------------------------------------------------------------------------------------------------- gradients


@every_variant
def test_gradients_match_finite_differences(name, kwargs):
    for init, train in itertools.product(INITS, (True, False)):
        block = make(name, kwargs, 8, init).double().train(train)
        names = [n for n, _ in block.named_parameters()]

        def call(x, *values, block=block, names=names):
            return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

        x = rand(2, 8, 2, 3, dtype=torch.float64).requires_grad_()
        given = (x, *block.parameters())
        assert torch.autograd.gradcheck(call, given, fast_mode=True, raise_exception=False), (init, train)


@every_variant
def test_every_parameter_gets_a_gradient(name, kwargs):
    for init in INITS:
        block = make(name, kwargs, init=init, random=False)
        block(rand(2, 16, 5, 7).requires_grad_()).square().sum().backward()
        assert not [n for n, p in block.named_parameters() if p.grad is None], init


# Parameters that cannot change the output, whatever their value: their gradient is zero by the equations.
WITHOUT_EFFECT = {
    "GC": {"mask.bias"},  # a softmax ignores a constant
    "SNL": {"mask.bias"},
    "NL": {"phi.bias"},  # adds the same to all positions a query compares
    "CA": {"reduce.bias"},  # a BatchNorm over the batch removes it (in training)
    "GAM": {"conv1.bias", "conv2.bias"},
    "BAM": {"squeeze.bias", "reduce.bias", "conv1.bias", "conv2.bias"},
    "CAA": {"strips.1.bias"},
    "SK": {f"branches.{k}.conv.bias" for k in range(4)},
}


@every_variant
def test_identity_returns_the_input_exactly(name, kwargs):
    for channels in (8, 48, 64):
        for dtype in (torch.float64, torch.float32, *HALVES):
            for train in (True, False):
                block = make(name, kwargs, channels, "identity", random=False).to(dtype).train(train)
                x = 5 * rand(2, channels, 5, 7, dtype=dtype)
                assert torch.equal(block(x), x), (channels, dtype, train)
                x = x.to(memory_format=torch.channels_last)
                assert torch.equal(block(x), x), (channels, dtype, train)


@every_variant
def test_identity_learns_everything_after_one_step(name, kwargs):
    block = make(name, kwargs, init="identity", random=False).double()
    x, target = (rand(4, 16, 6, 5, seed=s, dtype=torch.float64) for s in (1, 2))
    optimizer = torch.optim.SGD(block.parameters(), lr=1.0)
    for _ in range(2 + block.blends):  # the factor that blends it in moves first
        optimizer.zero_grad()
        (block(x) - target).square().mean().backward()
        optimizer.step()
    dead = {n for n, p in block.named_parameters() if p.grad.abs().max() < 1e-12}
    expected = WITHOUT_EFFECT.get(name, set()) if not {"avg", "dot_product", "paper"} & set(kwargs.values()) else set()
    assert dead == expected


@pytest.mark.parametrize("name", ["CBAM", "ELA"])
def test_identity_leaves_a_convolution_before_a_norm_as_it_is(name):
    assert make(name, {}, init="identity", random=False).conv.weight.abs().min() > 0  # the norm would divide by 0


@every_variant
def test_identity_adds_no_parameter_and_no_buffer_but_one_factor_where_it_is_blended_in(name, kwargs):
    paper, identity = (make(name, kwargs, init=init) for init in INITS)
    shapes = [{k: v.shape for k, v in block.state_dict().items()} for block in (paper, identity)]
    assert shapes[1] == shapes[0] | ({"gamma": torch.Size()} if identity.blends else {})


# ---------------------------------------------------------------------------------------------------- attention maps

SHAPES = {  # of two images with 16 channels in G groups, 5 x 7, by kind of map
    "channel": lambda block: (2, 16, 1, 1),
    "rows": lambda block: (2, 16, 5, 1),
    "columns": lambda block: (2, 16, 1, 7),
    "spatial": lambda block: (2, 1, 5, 7),
    "groups": lambda block: (2, block.groups, 5, 7),
    "full": lambda block: (2, 16, 5, 7),
    "cells": lambda block: (2, 16, block.local_size, block.local_size),
    "channel half": lambda block: (2, 8, 1, 1),
    "full half": lambda block: (2, 8, 5, 7),
    "kernels": lambda block: (2, 2, 5, 7),
    "factors": lambda block: (2, 16, 5, 7),
    "branches": lambda block: (2, len(block.branches), 16),
    "weights": lambda block: (2, 1, 5, 7),
    "pairs": lambda block: (2, 35, 35),
}
HARD = {"ESE"}  # gates that reach the ends of their range
WEIGHTS = {"branches", "weights", "pairs"}  # all others multiply


def test_every_kind_of_map_has_a_shape_here_and_a_name_where_gates_are_drawn():
    assert set(SHAPES) == set(MAPS) == set(NAMES) - {"product", "other"} == set(SENTENCES) - {"product"}


@every_variant
def test_attention_maps_have_their_declared_shape_and_range(name, kwargs):
    for init in INITS:
        block = make(name, kwargs, init=init).eval()
        found = maps(block, rand(2, 16, 5, 7))
        assert [tuple(m.shape) for m in found] == [SHAPES[kind](block) for kind in block.maps], init
        gates = [(one, top) for one, top in zip(found, block.tops, strict=True) if top is not None]
        for one, top in gates:
            assert one.min() > 0, init
            assert one.max() < top or (name in HARD and one.max() == top), init
        if gates:
            used = max(float(one.detach().max()) / top for one, top in gates)
            assert used > 0.5, f"{init}: the declared range is not used"
        for one, kind, top in zip(found, block.maps, block.tops, strict=True):
            if kind not in WEIGHTS:
                assert (top is None) == (kind == "factors") or kwargs, "by default a gate has a range"
                continue
            assert top is None, init
            if "dot_product" not in kwargs.values():  # similarities of either sign
                assert (one >= 0).all(), init
                total = one.sum({"branches": 1, "pairs": 2}.get(kind, (1, 2, 3)))
                close(total, torch.ones_like(total), init)


def in_groups(block, x, gates):
    return x * gates.repeat_interleave(x.shape[1] // gates.shape[1], 1)


def scse(block, x, c, s):
    if block.combine == "mul":
        return x * c * s
    return x * c + x * s if block.combine == "add" else torch.maximum(x * c, x * s)


def lsk(block, x, gates):
    small = block.small(x)
    large = block.large(small)
    return x * block.proj(block.reduce_small(small) * gates[:, :1] + block.reduce_large(large) * gates[:, 1:])


def sa(block, x, channel, spatial):
    halves = [g.unflatten(1, (block.groups, -1)) for g in (channel.expand_as(spatial), spatial)]
    y = x * torch.cat(halves, 2).flatten(1, 2)
    return y.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2) if block.shuffle else y


EXPECTED = {  # what a block gives, from block, input and maps, where that is not the input times all maps
    "SGE": in_groups,
    "EMA": in_groups,
    "scSE": scse,
    "SA": sa,
    "Triplet": lambda block, x, *maps: x * sum(maps) / 3,
    "BAM": lambda block, x, gates: x * (1 + gates),
    "MLCA": lambda block, x, cells: x * nn.functional.adaptive_avg_pool2d(cells, x.shape[2:]),
    "LSK": lsk,
    "CAA": lambda block, x, gates: x * gates if block.multiply else gates,
}
OF_OTHERS = {"CPCA": {}, "scSE": {"combine": "concat"}}  # blocks that multiply something else than their input
GATES = [v for v in VARIANTS if not WEIGHTS & set(ATTENTION_BLOCKS[v[0]].maps) and OF_OTHERS.get(v[0]) != v[1]]


@pytest.mark.parametrize(("name", "kwargs"), GATES, ids=[IDS[VARIANTS.index(v)] for v in GATES])
def test_forward_multiplies_by_the_attention_maps(name, kwargs):
    for init in INITS:
        block = make(name, kwargs, init=init).eval()
        x = rand(2, 16, 5, 7)
        found = maps(block, x)
        expected = EXPECTED[name](block, x, *found) if name in EXPECTED else x * math.prod(found)
        if block.blends and init == "identity":
            expected = x + block.gamma * (expected - x)
        close(block(x), expected, init)


@pytest.mark.parametrize("kwargs", [{}, {"mode": "dot_product"}], ids=str)
def test_nl_forward_uses_the_weights_it_shows(kwargs):
    block = make("NL", kwargs).eval()
    x = rand(2, 16, 5, 7)
    y = torch.einsum("nij,ncj->nci", block.attention(x), block.g(x).flatten(2)).unflatten(2, (5, 7))
    torch.testing.assert_close(block(x), x + block.out(y))


@pytest.mark.parametrize("size", [(5, 7), (14, 7), (1, 1), (9, 20)], ids=str)
@pytest.mark.parametrize("kwargs", [{}, {"regions": 2, "topk": 3}], ids=str)
def test_bra_forward_uses_the_weights_it_shows(kwargs, size):
    block, x = make("BRA", {"heads": 1, **kwargs}).eval(), rand(2, 16, *size)
    v = block.qkv(x)[:, 32:]
    y = torch.einsum("nij,ncj->nci", block.attention(x), v.flatten(2)).unflatten(2, size)
    torch.testing.assert_close(block(x), x + block.out(y + block.local(v)))


def test_bra_attends_to_the_positions_of_as_many_regions_as_it_may():
    block, x = make("BRA", {"regions": 3, "topk": 2}).eval(), rand(1, 16, 7, 9)  # regions of 3 x 3, or 1 x 3 below
    seen = (block.attention(x)[0] > 0).sum(1)
    assert set(seen.tolist()) <= {6, 12, 18}
    everywhere = make("BRA", {"regions": 3, "topk": 9}).eval().attention(x)
    assert (everywhere > 0).all()


def test_cpca_forward_uses_the_maps_it_shows():
    block, x = make("CPCA", {}).eval(), rand(2, 16, 5, 7)
    channel, factors = block.attention(x)
    y = nn.functional.gelu(block.mix(x)) * channel * factors
    torch.testing.assert_close(block(x), block.mix(y))


@pytest.mark.parametrize("kwargs", [{}, {"form": "paper"}], ids=str)
def test_sk_forward_uses_the_weights_it_shows(kwargs):
    block, x = make("SK", kwargs).eval(), rand(2, 16, 5, 7)
    y = torch.einsum("nkc,kncij->ncij", block.attention(x), torch.stack([branch(x) for branch in block.branches]))
    torch.testing.assert_close(block(x), y)


# -------------------------------------------------------------------------------------- export, tracing, persistence


@few_first
@pytest.mark.skipif(not hasattr(torch.export, "Dim"), reason="this torch exports no dynamic sizes")
def test_export_keeps_the_values_at_another_size(name, kwargs):
    block = make(name, kwargs).eval()
    least = getattr(block, "window", 1) + 1  # torch.export takes a size of 1, here of the map of windows, as a constant
    side = getattr(block, "regions", 1)  # and solves no division with a remainder
    n, h, w = (torch.export.Dim(d, min=size, max=64) for d, size in (("n", 2), ("h", least), ("w", least)))
    first = (2, 16, side * (least + 4), side * (least + 3))
    second = (3, 16, side * (least + 7), side * (least + 5))
    program = torch.export.export(block, (rand(*first),), dynamic_shapes=({0: n, 2: side * h, 3: side * w},))
    for shape in [first, second]:
        torch.testing.assert_close(program.module()(rand(*shape)), block(rand(*shape)))


@every_variant
def test_trace_keeps_the_values_at_another_size(name, kwargs):
    block = make(name, kwargs).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its own end
        traced = torch.jit.trace(block, rand(2, 16, 6, 5))
    for shape in [(2, 16, 6, 5), (3, 16, 9, 7)]:
        torch.testing.assert_close(traced(rand(*shape)), block(rand(*shape)))


@every_variant
def test_survives_deepcopy_pickle_and_state_dict(name, kwargs):
    block = make(name, kwargs, init="identity").eval()
    x = rand(2, 16, 5, 7)
    saved = io.BytesIO()
    torch.save(block, saved)
    saved.seek(0)
    fresh = make(name, kwargs, init="identity", seed=5).eval()
    assert not torch.equal(fresh(x), block(x))
    fresh.load_state_dict(block.state_dict())
    for other in (
        copy.deepcopy(block),
        pickle.loads(pickle.dumps(block)),
        torch.load(saved, weights_only=False),
        fresh,
    ):
        assert type(other) is type(block)
        assert repr(other) == repr(block)
        assert torch.equal(other(x), block(x))


@every_variant
def test_is_deterministic(name, kwargs):
    results = []
    for _ in range(2):
        block = make(name, kwargs, random=False)
        x = rand(2, 16, 5, 7).requires_grad_()
        y = block(x)
        y.square().sum().backward()
        results.append([y, x.grad, *(p.grad for p in block.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_checkpoints_find_the_classes_where_they_were():
    assert {name: f"{cls.__module__}.{cls.__qualname__}" for name, cls in ATTENTION_BLOCKS.items()} == IMPORT_PATHS
    names = {cls.__name__ for cls in ATTENTION_BLOCKS.values()}
    assert names == set(yolo_attn.blocks.__all__) - {"ATTENTION_BLOCKS", "AttentionBlock"}
