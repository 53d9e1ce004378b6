"""What every attention block promises, whatever it computes: a block is covered by being listed in the registry."""

from __future__ import annotations

import ast
import copy
import doctest
import importlib
import inspect
import io
import pickle
import pkgutil
import typing
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import yolo_attn.blocks
from yolo_attn.blocks import ATTENTION_BLOCKS, _common

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:ELA:UserWarning", "ignore::torch.jit.TracerWarning"),
]

WIDTHS = [8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192]
WIDTHS += [240, 256, 320, 360, 384, 480, 512, 576, 640, 768, 1024, 1280]
MODULES = [f"yolo_attn.blocks.{m.name}" for m in pkgutil.iter_modules(yolo_attn.blocks.__path__)]

OPTIONS = {  # arguments beyond the defaults that change what is computed
    "SE": [{"bias": True}],
    "ECA": [{"kernel_size": 5}],
    "GC": [{"pooling": "avg"}, {"fusion": "mul"}, {"fusion": "add+mul"}],
    "NL": [{"mode": "dot_product"}],
    "cSE": [{"bias": True}],
    "sSE": [{"bias": True}],
    "scSE": [{"combine": "max"}, {"combine": "mul"}, {"combine": "concat"}],
    "ELA": [{"variant": "T"}, {"variant": "S"}, {"variant": "L"}],
    "SGE": [{"groups": 4}],
}
VARIANTS = [(name, kwargs) for name in ATTENTION_BLOCKS for kwargs in [{}, *OPTIONS.get(name, [])]]
IDS = ["-".join([name, *(f"{k}={v}" for k, v in kwargs.items())]) for name, kwargs in VARIANTS]


def _computes_in_float16():
    """Whether this torch does so on the CPU, as old ones do not."""
    try:
        torch.conv2d(*(torch.ones(1, 1, 1, 1, dtype=torch.float16) for _ in range(2)))
    except RuntimeError:
        return False
    return True


HALVES = [torch.bfloat16, *([torch.float16] if _computes_in_float16() else [])]
every_variant = pytest.mark.parametrize(("name", "kwargs"), VARIANTS, ids=IDS)
every_init = pytest.mark.parametrize("init", ["paper", "identity"])
every_module = pytest.mark.parametrize("module", MODULES)


def make(name, kwargs, channels=16, init="paper", seed=0, random=True):
    """Build a block; ``random`` gives each parameter a value that is not special: nothing is hidden by zeros."""
    torch.manual_seed(seed)
    block = ATTENTION_BLOCKS[name](channels, **kwargs, init=init)
    if random:
        for parameter in block.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            nn.init.normal_(parameter, std=fan_in**-0.5)
    return block


def rand(*shape, seed=1, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def maps(block, x):
    out = block.attention(x)
    return out if isinstance(out, tuple) else (out,)


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


# ------------------------------------------------------------------------------------------ constructors, parameters

HYPER_PARAMETERS = {
    "SE": {"reduction": 16, "bias": False, "min_hidden": 4},
    "ECA": {"kernel_size": None, "gamma": 2, "b": 1},
    "GC": {"reduction": 16, "pooling": "attention", "fusion": "add", "min_hidden": 8},
    "NL": {"reduction": 2, "mode": "embedded_gaussian"},
    "SNL": {},
    "CA": {"reduction": 32, "min_hidden": 8},
    "CBAM": {"reduction": 16, "kernel_size": 7, "min_hidden": 4},
    "cSE": {"reduction": 2, "bias": False},
    "sSE": {"bias": False},
    "scSE": {"reduction": 2, "bias": False, "combine": "add"},
    "ELA": {"variant": "B", "kernel_size": None, "conv_groups": None, "norm_groups": None},
    "SGE": {"groups": 8},
}


@pytest.mark.parametrize("name", ATTENTION_BLOCKS)
def test_signature(name):
    parameters = dict(inspect.signature(ATTENTION_BLOCKS[name]).parameters)
    assert next(iter(parameters)) == "channels"
    assert parameters.pop("channels").default is inspect.Parameter.empty
    init = parameters.pop("init")
    assert (init.kind, init.default) == (inspect.Parameter.KEYWORD_ONLY, "paper")
    assert {k: p.default for k, p in parameters.items()} == HYPER_PARAMETERS[name]
    assert list(parameters) == list(HYPER_PARAMETERS[name])
    assert all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters.values())
    hints = typing.get_type_hints(ATTENTION_BLOCKS[name].__init__)
    assert set(hints) == {"channels", "init", "return", *parameters}
    assert hints["init"] == typing.Literal["paper", "identity"]


PARAMETER_ORDER = {
    "SE": "squeeze.weight excite.weight",
    "ECA": "conv.weight",
    "GC": "mask.weight mask.bias add_transform.down.weight add_transform.down.bias add_transform.norm.weight "
    "add_transform.norm.bias add_transform.up.weight add_transform.up.bias",
    "NL": "theta.weight theta.bias phi.weight phi.bias g.weight g.bias out.weight out.bias",
    "SNL": "mask.weight mask.bias value.weight value.bias",
    "CA": "reduce.weight reduce.bias norm.weight norm.bias conv_h.weight conv_h.bias conv_w.weight conv_w.bias",
    "CBAM": "squeeze.weight squeeze.bias excite.weight excite.bias conv.weight norm.weight norm.bias",
    "cSE": "squeeze.weight excite.weight",
    "sSE": "conv.weight",
    "scSE": "cse.squeeze.weight cse.excite.weight sse.conv.weight",
    "ELA": "conv.weight norm.weight norm.bias",
    "SGE": "weight bias",
}


@pytest.mark.parametrize("name", ATTENTION_BLOCKS)
def test_parameters_come_in_the_order_of_the_equation(name):
    assert [n for n, _ in make(name, {}).named_parameters()] == PARAMETER_ORDER[name].split()


def test_parameters_of_further_branches_come_last():
    gc_names = [n.split(".")[0] for n, _ in make("GC", {"fusion": "add+mul"}).named_parameters()]
    assert list(dict.fromkeys(gc_names)) == ["mask", "add_transform", "mul_transform"]
    assert [n for n, _ in make("scSE", {"combine": "concat"}).named_parameters()][-1] == "proj.weight"


def test_parameter_shapes_that_an_optimizer_looks_at():
    ela, sge, eca = make("ELA", {"variant": "L"}, 32), make("SGE", {}, 32), make("ECA", {}, 32)
    assert ela.conv.weight.shape == (32, 8, 7)
    assert sge.weight.shape == sge.bias.shape == (8,)
    assert eca.conv.weight.shape == (1, 1, 3)


@pytest.mark.parametrize("name", ATTENTION_BLOCKS)
def test_refuses_bad_widths_and_inits(name):
    cls = ATTENTION_BLOCKS[name]
    for given in (0, -8):
        with pytest.raises(ValueError, match=rf"channels={given} "):
            cls(given)
    for given in (16.0, "16", True, None):
        with pytest.raises(TypeError, match=rf"channels={given!r} "):
            cls(given)
    with pytest.raises(ValueError, match=r"init='identiy' .*did you mean 'identity'.*'paper', 'identity'"):
        cls(16, init="identiy")
    with pytest.raises(TypeError, match="init=None "):
        cls(16, init=None)
    with pytest.raises(TypeError, match="reducton"):
        cls(16, reducton=4)


BAD = [
    *[(n, {k: v}, e, f"{k}={v!r} ") for n, k in [("SE", "reduction"), ("GC", "reduction"), ("NL", "reduction"),
      ("CA", "reduction"), ("CBAM", "reduction"), ("cSE", "reduction"), ("scSE", "reduction"), ("SE", "min_hidden"),
      ("GC", "min_hidden"), ("CA", "min_hidden"), ("CBAM", "min_hidden"), ("ECA", "kernel_size"),
      ("CBAM", "kernel_size"), ("ELA", "kernel_size"), ("ELA", "conv_groups"), ("ELA", "norm_groups"),
      ("SGE", "groups")] for v, e in [(0, ValueError), (2.0, TypeError), (True, TypeError), ("4", TypeError)]],
    *[(n, {"bias": v}, TypeError, f"bias={v!r} ") for n in ("SE", "cSE", "sSE", "scSE") for v in (1, None, "no")],
    *[(n, {"kernel_size": 4}, ValueError, "kernel_size=4 .*3 or 5") for n in ("ECA", "CBAM", "ELA")],
    ("ECA", {"gamma": 0}, ValueError, "gamma=0 "),
    ("ECA", {"gamma": "2"}, TypeError, "gamma='2' "),
    ("ECA", {"b": True}, TypeError, "b=True "),
    ("ECA", {"b": float("nan")}, ValueError, "b=nan "),
    ("GC", {"pooling": "att"}, ValueError, "pooling='att' .*'attention', 'avg'"),
    ("GC", {"fusion": "mul+add"}, ValueError, "fusion='mul\\+add' .*'add\\+mul'"),
    ("NL", {"mode": "gaussian"}, ValueError, "mode='gaussian' .*did you mean 'embedded_gaussian'"),
    ("scSE", {"combine": "sum"}, ValueError, "combine='sum' .*'add', 'max', 'mul', 'concat'"),
    ("ELA", {"variant": "b"}, ValueError, "variant='b' .*did you mean 'B'"),
    ("ELA", {"variant": 1}, TypeError, "variant=1 "),
    ("ELA", {"conv_groups": 5}, ValueError, "conv_groups=5 .*channels=64.*4 or 8"),
    ("ELA", {"norm_groups": 24}, ValueError, "norm_groups=24 .*16 or 32"),
    ("SGE", {"groups": 7}, ValueError, "groups=7 .*channels=64.*4 or 8"),
    ("SGE", {"groups": 100}, ValueError, "groups=100 .*64$"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs", "error", "message"), BAD, ids=[f"{n}-{k}" for n, k, _, _ in BAD])
def test_a_bad_argument_is_one_sentence_that_names_it(name, kwargs, error, message):
    with pytest.raises(error, match=message) as caught:
        ATTENTION_BLOCKS[name](64, **kwargs)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------- warnings, modules


def test_ela_says_once_what_it_adapted(monkeypatch):
    monkeypatch.setattr(_common, "_WARNED", set())
    with pytest.warns(UserWarning, match="norm groups 32.* 48 channels; 24 "):
        block = make("ELA", {"variant": "T"}, 48)
    assert "norm groups 32->24" in repr(block)
    with pytest.warns(UserWarning, match="conv channels per group 8.* 12 channels; 6 "):
        make("ELA", {"variant": "S"}, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "norm groups 16->15" in repr(make("ELA", {}, 360))
        assert "->" not in repr(make("ELA", {"norm_groups": 8}, 360))
        assert "->" not in repr(make("ELA", {"variant": "L"}, 64))


def test_nl_says_once_that_a_map_is_large(monkeypatch):
    monkeypatch.setattr(_common, "_WARNED", set())
    small, large = torch.zeros(1, 2, 64, 64), torch.zeros(1, 2, 65, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make("NL", {}, 2)(small)
        make("NL", {"mode": "dot_product"}, 2)(large)  # forms no matrix
        monkeypatch.setattr(_common, "_is_compiling", lambda: True)
        make("NL", {}, 2)(large)
        monkeypatch.setattr(_common, "_is_compiling", lambda: False)
    with pytest.warns(UserWarning, match="65x64 .*4160 positions.* 66 MiB .*P4 or P5"):
        make("NL", {}, 2)(large)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make("NL", {}, 2)(large)


def test_cbam_normalises_a_single_value_by_the_running_statistics():
    block = make("CBAM", {}).train()
    nn.init.constant_(block.norm.running_mean, 0.3)
    before = copy.deepcopy(block.norm.state_dict())
    x = rand(1, 16, 1, 1)
    torch.testing.assert_close(block(x), copy.deepcopy(block).eval()(x))
    assert all(torch.equal(v, before[k]) for k, v in block.norm.state_dict().items())


def test_cbam_has_the_momentum_of_the_authors():
    assert make("CBAM", {}).norm.momentum == 0.01


def test_sge_of_one_position_is_its_bias():
    block = make("SGE", {})
    x = rand(2, 16, 1, 1)
    torch.testing.assert_close(block(x), x * torch.sigmoid(block.bias).repeat_interleave(2)[:, None, None])


@every_module
def test_examples_run(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert failed == 0
    assert tried > 0 or ".blocks._" in module


@every_module
def test_blocks_import_torch_and_nothing_else_of_the_project(module):
    tree = ast.parse(Path(importlib.import_module(module).__file__).read_text(encoding="utf-8"))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = {
        "__future__",
        "collections",
        "contextlib",
        "dataclasses",
        "difflib",
        "math",
        "torch",
        "typing",
        "warnings",
    }
    shared = {name for name in MODULES if ".blocks._" in name}
    assert {i for i in imported if i.split(".")[0] not in allowed} <= shared
