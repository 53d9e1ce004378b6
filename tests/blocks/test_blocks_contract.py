"""What every attention block promises, whatever it computes: a block is covered by being listed in the registry."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from support.block_cases import HALVES, IDS, MARKS, VARIANTS, WIDTHS, every_init, every_variant, make, maps, rand
from torch import nn

import yolo_attn.blocks
from yolo_attn.blocks import ATTENTION_BLOCKS

pytestmark = MARKS
# ------------------------------------------------------------------------------------------- shapes, dtypes, layouts


@every_init
@every_variant
def test_takes_every_width(name, kwargs, init):
    for channels in WIDTHS:
        x = rand(2, channels, 3, 2)
        y = make(name, kwargs, channels, init, random=False)(x)
        assert y.shape == x.shape, channels
        assert torch.isfinite(y).all(), channels


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@every_variant
def test_takes_every_map_size_and_learns_there(name, kwargs, train):
    for shape in [(1, 16, 1, 1), (2, 16, 1, 1), (1, 16, 1, 5), (1, 16, 5, 1), (1, 16, 13, 17), (3, 16, 4, 4)]:
        block = make(name, kwargs).train(train)
        x = rand(*shape).requires_grad_()
        y = block(x)
        assert y.shape == x.shape, shape
        assert y.dtype == x.dtype, shape
        assert torch.isfinite(y).all(), shape
        y.square().sum().backward()
        for what, tensor in [("input", x), *block.named_parameters()]:
            assert torch.isfinite(tensor.grad).all(), (what, shape)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
@every_variant
def test_constant_maps_give_finite_values_and_gradients(name, kwargs, value):
    block = make(name, kwargs)
    x = torch.full((2, 16, 4, 5), value, requires_grad=True)
    y = block(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters())


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


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@every_variant
def test_runs_in_half_precision(name, kwargs, dtype):
    x = rand(2, 16, 5, 7, dtype=dtype)
    for train in (False, True):
        block = make(name, kwargs).train(train)
        expected = block(x.float())
        y = make(name, kwargs).train(train).to(dtype)(x)
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_variant
def test_keeps_the_dtype_under_autocast(name, kwargs, dtype):
    block = make(name, kwargs)
    x = rand(2, 16, 5, 7).to(dtype).requires_grad_()
    expected = make(name, kwargs)(x.detach().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.1)
    y.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == torch.float32 for p in block.parameters())


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


@every_init
@every_variant
def test_gradients_match_finite_differences(name, kwargs, init):
    block = make(name, kwargs, 8, init).double()
    names = [n for n, _ in block.named_parameters()]

    def call(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

    x = rand(2, 8, 2, 3, dtype=torch.float64).requires_grad_()
    for train in (True, False):
        block.train(train)
        assert torch.autograd.gradcheck(call, (x, *block.parameters()), fast_mode=True)


@every_init
@every_variant
def test_every_parameter_gets_a_gradient(name, kwargs, init):
    block = make(name, kwargs, init=init, random=False)
    block(rand(2, 16, 5, 7)).square().sum().backward()
    assert not [n for n, p in block.named_parameters() if p.grad is None]


# Parameters that cannot change the output, whatever their value: their gradient is zero by the equations.
WITHOUT_EFFECT = {
    "GC": {"mask.bias"},  # a softmax ignores a constant
    "SNL": {"mask.bias"},
    "NL": {"phi.bias"},  # adds the same to all positions a query compares
    "CA": {"reduce.bias"},  # a BatchNorm over the batch removes it (in training)
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
    for _ in range(2):
        optimizer.zero_grad()
        (block(x) - target).square().mean().backward()
        optimizer.step()
    dead = {n for n, p in block.named_parameters() if p.grad.abs().max() < 1e-12}
    expected = WITHOUT_EFFECT.get(name, set()) if not {"avg", "dot_product"} & set(kwargs.values()) else set()
    assert dead == expected


@pytest.mark.parametrize("name", ["CBAM", "ELA"])
def test_identity_leaves_a_convolution_before_a_norm_as_it_is(name):
    assert make(name, {}, init="identity", random=False).conv.weight.abs().min() > 0  # the norm would divide by 0


@every_variant
def test_identity_adds_no_parameter_and_no_buffer(name, kwargs):
    shapes = [
        {k: v.shape for k, v in make(name, kwargs, init=init).state_dict().items()} for init in ("paper", "identity")
    ]
    assert shapes[0] == shapes[1]


# ---------------------------------------------------------------------------------------------------- attention maps

MAP_SHAPES = {
    "SE": [(2, 16, 1, 1)],
    "ECA": [(2, 16, 1, 1)],
    "cSE": [(2, 16, 1, 1)],
    "sSE": [(2, 1, 5, 7)],
    "CA": [(2, 16, 5, 1), (2, 16, 1, 7)],
    "ELA": [(2, 16, 5, 1), (2, 16, 1, 7)],
    "CBAM": [(2, 16, 1, 1), (2, 1, 5, 7)],
    "scSE": [(2, 16, 1, 1), (2, 1, 5, 7)],
    "SGE": [(2, 8, 5, 7)],
    "GC": [(2, 1, 5, 7)],
    "SNL": [(2, 1, 5, 7)],
    "NL": [(2, 35, 35)],
}


@every_init
@every_variant
def test_attention_maps_have_their_documented_shape_and_range(name, kwargs, init):
    block = make(name, kwargs, init=init).eval()
    found = maps(block, rand(2, 16, 5, 7))
    shapes = [(2, 4, 5, 7)] if kwargs == {"groups": 4} else MAP_SHAPES[name]
    assert [tuple(m.shape) for m in found] == shapes
    if kwargs.get("mode") == "dot_product":
        return  # similarities of either sign
    if name in ("GC", "SNL", "NL"):
        assert all((m >= 0).all() for m in found)
        for one in found:
            total = one.sum(2) if name == "NL" else one.flatten(1).sum(1)
            torch.testing.assert_close(total, torch.ones_like(total))
        return
    top = 2.0 if init == "identity" and kwargs.get("combine", name) not in ("scSE", "concat") else 1.0
    for one in found:
        assert one.min() > 0
        assert one.max() < top
    assert max(one.max() for one in found) > top / 2, "the documented range is not used"


GATES = [v for v in VARIANTS if v[0] not in ("GC", "SNL", "NL") and v[1].get("combine") != "concat"]


@every_init
@pytest.mark.parametrize(("name", "kwargs"), GATES, ids=[IDS[VARIANTS.index(v)] for v in GATES])
def test_forward_multiplies_by_the_attention_maps(name, kwargs, init):
    block = make(name, kwargs, init=init).eval()
    x = rand(2, 16, 5, 7)
    found = maps(block, x)
    if name == "SGE":
        gates = found[0].repeat_interleave(16 // found[0].shape[1], dim=1)
    elif name == "scSE" and kwargs.get("combine") != "mul":
        c, s = (m.broadcast_to(x.shape) for m in found)
        gates = c + s if not kwargs else torch.where(x > 0, torch.maximum(c, s), torch.minimum(c, s))
    else:
        gates = found[0] if len(found) == 1 else found[0] * found[1]
    torch.testing.assert_close(block(x), x * gates)


@pytest.mark.parametrize("kwargs", [{}, {"mode": "dot_product"}], ids=str)
def test_nl_forward_uses_the_weights_it_shows(kwargs):
    block = make("NL", kwargs).eval()
    x = rand(2, 16, 5, 7)
    y = torch.einsum("nij,ncj->nci", block.attention(x), block.g(x).flatten(2)).unflatten(2, (5, 7))
    torch.testing.assert_close(block(x), x + block.out(y))


# -------------------------------------------------------------------------------------- export, tracing, persistence


@every_variant
@pytest.mark.skipif(not hasattr(torch.export, "Dim"), reason="this torch exports no dynamic sizes")
def test_export_keeps_the_values_at_another_size(name, kwargs):
    block = make(name, kwargs).eval()
    n, h, w = (torch.export.Dim(d, min=2, max=64) for d in "nhw")
    program = torch.export.export(block, (rand(2, 16, 6, 5),), dynamic_shapes=({0: n, 2: h, 3: w},))
    for shape in [(2, 16, 6, 5), (3, 16, 9, 7)]:
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


PICKLED_AS = {
    "SE": "se.SE",
    "ECA": "eca.ECA",
    "GC": "gcnet.GC",
    "NL": "non_local.NL",
    "SNL": "non_local.SNL",
    "CA": "ca.CA",
    "CBAM": "cbam.CBAM",
    "cSE": "scse.CSE",
    "sSE": "scse.SSE",
    "scSE": "scse.SCSE",
    "ELA": "ela.ELA",
    "SGE": "sge.SGE",
}


def test_checkpoints_find_the_classes_where_they_were():
    paths = {name: f"{cls.__module__}.{cls.__qualname__}" for name, cls in ATTENTION_BLOCKS.items()}
    assert paths == {name: f"yolo_attn.blocks.{path}" for name, path in PICKLED_AS.items()}
    assert {cls.__name__ for cls in ATTENTION_BLOCKS.values()} == set(yolo_attn.blocks.__all__) - {"ATTENTION_BLOCKS"}
