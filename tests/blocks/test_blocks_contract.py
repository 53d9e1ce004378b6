"""Contract of every registered block: shapes, dtypes, gradients, initialisation and state."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import warnings

import pytest
import torch
from support.block_cases import (
    HALVES,
    IMPORT_PATHS,
    INITS,
    MARKS,
    WIDTHS,
    close,
    defaults_first,
    every_variant,
    few_first,
    make,
    rand,
)
from torch import nn

import yolo_attn.blocks
from yolo_attn.blocks import ATTENTION_BLOCKS

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
