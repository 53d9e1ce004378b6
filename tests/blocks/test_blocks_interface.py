"""Interface of the blocks: constructors, parameters, errors, warnings, and imports of their modules."""

from __future__ import annotations

import ast
import copy
import doctest
import importlib
import inspect
import pickle
import re
import typing
import warnings
from pathlib import Path

import pytest
import torch
from support.block_cases import (
    MARKS,
    MODULES,
    every_module,
    make,
    rand,
)
from torch import nn

from yolo_attn.blocks import ATTENTION_BLOCKS, base, ops

pytestmark = MARKS
# ------------------------------------------------------------------------------------------ constructors, parameters

HYPER_PARAMETERS = {  # those of a release: model YAMLs name them
    "SE": {"reduction": 16, "bias": False, "min_hidden": 4},
    "ECA": {"kernel_size": None, "gamma": 2, "b": 1, "bias": False},
    "GC": {"reduction": 16, "pooling": "attention", "fusion": "add", "min_hidden": 8},
    "NL": {"reduction": 2, "mode": "embedded_gaussian"},
    "SNL": {},
    "CA": {"reduction": 32, "min_hidden": 8},
    "CBAM": {"reduction": 16, "kernel_size": 7, "min_hidden": 4},
    "cSE": {"reduction": 2, "bias": False},
    "sSE": {"bias": False},
    "scSE": {"reduction": 2, "bias": False, "combine": "add"},
    "ELA": {"variant": "B", "kernel_size": None, "conv_groups": None, "norm_groups": None, "bias": False},
    "SGE": {"groups": 8},
    "GCT": {"mode": "l2", "eps": 1e-5},
    "SimAM": {"eps": 1e-4},
    "LSKA": {"kernel_size": 11},
    "LSK": {},
    "CAA": {"kernel_size": 11, "multiply": True},
    "MSCA": {},
    "CPCA": {"reduction": 4},
    "SCSA": {"window": 7, "kernels": (3, 5, 7, 9), "heads": 8},
    "SEAM": {"depth": 1, "reduction": 16},
    "SK": {"form": "copies", "reduction": 16, "min_hidden": 32},
    "GAM": {"reduction": 4, "groups": 1, "channel_sigmoid": True, "shuffle": "hidden"},
    "EMA": {"factor": 32},
    "Triplet": {"kernel_size": 7},
    "SA": {"groups": 64, "shuffle": True},
    "MLCA": {"local_size": 5, "local_weight": 0.5, "gamma": 2, "b": 1},
    "SRM": {},
    "ESE": {},
    "BAM": {"reduction": 16, "dilation": 4, "min_hidden": 4, "combine": "add"},
    "BRA": {"heads": 8, "regions": 7, "topk": 4, "kernel_size": 5},
}


@pytest.mark.parametrize("name", HYPER_PARAMETERS)
def test_hyper_parameters_stay_what_they_were(name):
    _, *parameters, init = inspect.signature(ATTENTION_BLOCKS[name]).parameters.values()
    assert {p.name: p.default for p in parameters} == HYPER_PARAMETERS[name]
    assert [p.name for p in parameters] == list(HYPER_PARAMETERS[name])
    assert init.name == "init"


@pytest.mark.parametrize("name", ATTENTION_BLOCKS)
def test_signature(name):
    parameters = dict(inspect.signature(ATTENTION_BLOCKS[name]).parameters)
    assert next(iter(parameters)) == "channels"
    assert parameters.pop("channels").default is inspect.Parameter.empty
    init = parameters.pop("init")
    assert (init.kind, init.default) == (inspect.Parameter.KEYWORD_ONLY, "paper")
    assert all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters.values())
    hints = typing.get_type_hints(ATTENTION_BLOCKS[name].__init__)
    assert set(hints) == {"channels", "init", "return", *parameters}
    assert hints["init"] == typing.Literal["paper", "identity"]


def with_biases(layers):
    """Return the names of the parameters of layers with weight and bias."""
    return " ".join(f"{layer}.weight {layer}.bias" for layer in layers.split())


PARAMETER_ORDER = {  # of a release: checkpoints name them, and optimizers number them
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
    "GCT": "alpha gamma beta",
    "SimAM": "",
    "LSKA": with_biases("local.0 local.1 dilated.0 dilated.1 proj"),
    "LSK": with_biases("small large reduce_small reduce_large select proj"),
    "CAA": "conv1.weight norm1.weight norm1.bias strips.0.weight strips.0.bias strips.1.weight strips.1.bias "
    "conv2.weight norm2.weight norm2.bias",
    "MSCA": with_biases("local strips.0.0 strips.0.1 strips.1.0 strips.1.1 strips.2.0 strips.2.1 proj"),
    "CPCA": with_biases("mix squeeze excite local strips.0.0 strips.0.1 strips.1.0 strips.1.1 strips.2.0 strips.2.1"),
    "SCSA": with_biases("convs.0 convs.1 convs.2 convs.3 norm_h norm_w norm") + " q.weight k.weight v.weight",
    "SEAM": with_biases("stages.0.depthwise stages.0.norm1 stages.0.pointwise stages.0.norm2")
    + " squeeze.weight excite.weight",
    "SK": with_biases(" ".join(f"branches.{k}.conv branches.{k}.norm" for k in range(4)))
    + " "
    + with_biases("squeeze select.0 select.1 select.2 select.3"),
    "BRA": with_biases("qkv local out"),
    "GAM": "squeeze.weight squeeze.bias excite.weight excite.bias conv1.weight conv1.bias norm1.weight norm1.bias "
    "conv2.weight conv2.bias norm2.weight norm2.bias",
    "EMA": "conv1x1.weight conv1x1.bias norm.weight norm.bias conv3x3.weight conv3x3.bias",
    "Triplet": "conv_h.weight norm_h.weight norm_h.bias conv_w.weight norm_w.weight norm_w.bias conv_c.weight "
    "norm_c.weight norm_c.bias",
    "SA": "channel_weight channel_bias spatial_weight spatial_bias norm.weight norm.bias",
    "MLCA": "local_conv.weight global_conv.weight",
    "SRM": "weigh.weight norm.weight norm.bias",
    "ESE": "fc.weight fc.bias",
    "BAM": "squeeze.weight squeeze.bias norm.weight norm.bias excite.weight excite.bias reduce.weight reduce.bias "
    "norm0.weight norm0.bias conv1.weight conv1.bias norm1.weight norm1.bias conv2.weight conv2.bias norm2.weight "
    "norm2.bias project.weight project.bias",
}


@pytest.mark.parametrize("name", PARAMETER_ORDER)
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
    ("SimAM", {"eps": 0}, ValueError, "eps=0 is out of range"),
    ("LSKA", {"kernel_size": 9}, ValueError, "kernel_size=9 .*nearest is 7.*7, 11, 23, 35, 41, 53"),
    ("LSKA", {"kernel_size": "11"}, TypeError, "kernel_size='11' .*7, 11, 23, 35, 41, 53"),
    ("CAA", {"kernel_size": 10}, ValueError, "kernel_size=10 .*9 or 11"),
    ("CPCA", {"reduction": 0}, ValueError, "reduction=0 "),
    ("SCSA", {"kernels": (3, 5, 7)}, ValueError, r"kernels=\(3, 5, 7\) .*\[3, 5, 7, 9\]"),
    ("SCSA", {"kernels": 3}, TypeError, r"kernels=3 .*\[3, 5, 7, 9\]"),
    ("SCSA", {"kernels": (3, 5, 7, 8)}, ValueError, "kernels=8 .*7 or 9"),
    ("SCSA", {"window": 0}, ValueError, "window=0 "),
    ("SEAM", {"depth": 0}, ValueError, "depth=0 "),
    ("SK", {"form": "copy"}, ValueError, "form='copy' .*did you mean 'copies'.*'copies', 'paper'"),
    ("BRA", {"heads": 0}, ValueError, "heads=0 "),
    ("BRA", {"regions": 2.0}, TypeError, "regions=2.0 "),
    ("BRA", {"regions": 2, "topk": 5}, ValueError, "topk=5 .*regions=2 .*at most 4"),
    ("BRA", {"kernel_size": 4}, ValueError, "kernel_size=4 .*3 or 5"),
    ("SimAM", {"eps": "0"}, TypeError, "eps='0' "),
    ("GAM", {"groups": 3}, ValueError, "groups=3 .*channels=64.*2 or 4"),
    ("EMA", {"factor": 0}, ValueError, "factor=0 "),
    ("BAM", {"dilation": 0}, ValueError, "dilation=0 "),
    ("BAM", {"combine": "sum"}, ValueError, "combine='sum' .*'add', 'mul'"),
    ("Triplet", {"kernel_size": 4}, ValueError, "kernel_size=4 .*3 or 5"),
    ("SA", {"groups": 2.0}, TypeError, "groups=2.0 "),
    ("SA", {"shuffle": 1}, TypeError, "shuffle=1 "),
    ("MLCA", {"local_size": 0}, ValueError, "local_size=0 "),
    ("MLCA", {"local_weight": 1.5}, ValueError, "local_weight=1.5 .*from 0 to 1"),
    ("MLCA", {"gamma": 0}, ValueError, "gamma=0 "),
    ("GAM", {"channel_sigmoid": 1}, TypeError, "channel_sigmoid=1 "),
    ("GAM", {"shuffle": "gates"}, ValueError, "shuffle='gates' .*did you mean 'gate'"),
    ("CAA", {"multiply": 0}, TypeError, "multiply=0 "),
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
    monkeypatch.setattr(base, "_WARNED", set())
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


def test_ema_and_sa_say_once_what_they_adapted(monkeypatch):
    monkeypatch.setattr(base, "_WARNED", set())
    with pytest.warns(UserWarning, match="EMA: factor 32.* 48 channels; 24 "):
        assert "factor 32->24" in repr(make("EMA", {}, 48))
    with pytest.warns(UserWarning, match="SA: groups 64.* 80 channels; 40 "):
        assert "groups 64->40" in repr(make("SA", {}, 80))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "factor 32->16" in repr(make("EMA", {}, 16))
        assert "->" not in repr(make("EMA", {}, 64))
        assert "->" not in repr(make("SA", {}, 128))


def test_halves_need_an_even_number_of_channels():
    with pytest.raises(ValueError, match=r"channels=7 is odd .*e\.g\. 8"):
        make("SA", {}, 7)


def test_mlca_keeps_the_images_of_a_batch_apart_in_training_too():
    block, x = make("MLCA", {}), rand(3, 16, 9, 7)
    torch.testing.assert_close(block(x), torch.cat([block(one) for one in x.split(1)]))


@pytest.mark.parametrize("name", ["SimAM", "SRM"])
def test_the_variance_of_one_position_is_zero(name):
    block, x = make(name, {}).eval(), rand(2, 16, 1, 1)
    if name == "SimAM":
        torch.testing.assert_close(block(x), x * torch.sigmoid(torch.tensor(0.5)))
    else:
        c = block.weigh.weight[:, 0, 0]
        z = (c[:, :1] * x[:, :, 0] + c[:, 1:] * 1e-5**0.5)[..., None] / (1 + 1e-5) ** 0.5
        z = z * block.norm.weight[:, None, None] + block.norm.bias[:, None, None]
        torch.testing.assert_close(block(x), x * torch.sigmoid(z))


@pytest.mark.parametrize(("name", "size"), [("SimAM", 300.0), ("SRM", 300.0)])
def test_statistics_of_half_precision_do_not_overflow(name, size):
    block, x = make(name, {}).eval(), (size * rand(2, 16, 9, 7)).half().float()  # squares beyond 65504
    torch.testing.assert_close(block.half()(x.half()).float(), block.float()(x), rtol=5e-3, atol=1e-3)


def test_nl_says_once_that_a_map_is_large(monkeypatch):
    monkeypatch.setattr(base, "_WARNED", set())
    small, large = torch.zeros(1, 2, 64, 64), torch.zeros(1, 2, 65, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make("NL", {}, 2)(small)
        make("NL", {"mode": "dot_product"}, 2)(large)  # forms no matrix
        monkeypatch.setattr(ops, "_is_compiling", lambda: True)
        make("NL", {}, 2)(large)
        monkeypatch.setattr(ops, "_is_compiling", lambda: False)
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
    assert tried > 0 or module not in {cls.__module__ for cls in ATTENTION_BLOCKS.values()}


@pytest.mark.parametrize("module", [m for m in MODULES if m != "yolo_attn.blocks.fused"])  # kernels import triton
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
        "functools",
        "inspect",
        "math",
        "re",
        "torch",
        "types",
        "typing",
        "warnings",
    }
    assert {i for i in imported if i.split(".")[0] not in allowed} <= set(MODULES)


# ------------------------------------------------------------------------------------------------- facts on the class


def test_every_block_says_what_it_is():
    lacking = {}
    for name, cls in ATTENTION_BLOCKS.items():
        facts = {
            "paper": cls.paper.title and cls.paper.link.startswith("https://"),
            "aliases": cls.aliases and name not in cls.aliases,
            "maps": cls.maps and set(cls.maps) <= set(base.MAPS),
            "variants": all(set(v) <= set(inspect.signature(cls).parameters) for v in cls.variants),
            "imperative": re.match(r"[A-Z][a-z]+ ", cls.__doc__ or ""),
        }
        lacking[name] = [fact for fact, found in facts.items() if not found]
    assert not {name: facts for name, facts in lacking.items() if facts}
    names = [alias for cls in ATTENTION_BLOCKS.values() for alias in cls.aliases]
    assert len(names) == len(set(names))


def test_repr_shows_the_arguments():
    assert make("SE", {}).extra_repr() == "16, init=paper"
    assert make("GC", {"fusion": "mul"}).extra_repr() == "16, pooling=attention, fusion=mul, init=paper"
    assert make("scSE", {"combine": "max"}, init="identity").extra_repr() == "16, combine=max, init=identity"


def test_a_gate_that_cannot_start_at_one_is_blended_in():
    cls = ATTENTION_BLOCKS["SimAM"]
    plain, block, x = cls(16), cls(16, init="identity"), rand(2, 16, 5, 7)
    assert torch.equal(block(x), x)
    assert [(n, p.shape, p.item()) for n, p in block.named_parameters()] == [("gamma", (), 0.0)]
    assert not list(plain.parameters())
    y = plain(x)
    torch.testing.assert_close(y, x * plain.attention(x))
    block(x).square().sum().backward()
    assert block.gamma.grad != 0
    nn.init.constant_(block.gamma, 0.25)
    torch.testing.assert_close(block(x), 0.75 * x + 0.25 * y)
    assert block(x.half()).dtype == torch.float16
    assert pickle.loads(pickle.dumps(block)).extra_repr() == "16, eps=0.0001, init=identity"


def test_arguments_of_a_new_block_are_checked_by_their_annotations():
    for given, error, said in [
        ({"eps": "0"}, TypeError, "eps='0' is a str"),
        ({"eps": float("inf")}, ValueError, "eps=inf is out of range"),
        ({"init": 1}, TypeError, "init=1 is a int"),
    ]:
        with pytest.raises(error, match=said):
            ATTENTION_BLOCKS["SimAM"](16, **given)
