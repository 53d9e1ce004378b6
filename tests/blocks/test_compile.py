"""``torch.compile``: every block is one graph in training and evaluation, with the outputs of eager mode."""

import copy
import logging
import warnings
from pathlib import Path

import pytest
import torch
from support.block_cases import ADAPTED, IDS, VARIANTS, close, make, rand
from support.tiers import sampled
from ultralytics.nn import tasks

import yolo_attn as ya

PACKAGE = Path(ya.__file__).parent
COMPILED = ["SE", "NL", "SGE"]
"""Blocks that are compiled by default; all are in the slow tier, and their options in the campaign."""

pytestmark = [
    pytest.mark.usefixtures("one_thread", "nothing_compiled"),
    pytest.mark.filterwarnings(ADAPTED),
]


@pytest.fixture
def nothing_compiled():
    """Reset the compiler for each test, because torch stops recompiling a function after a few times; mute its log."""
    logging.getLogger("torch.__trace").propagate = False
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def in_one_graph(module):
    return torch.compile(module, fullgraph=True, backend="aot_eager")  # with fullgraph a graph break is an error


def results(block, run, x):
    """Return the output, gradients and buffers of a block after one forward and backward pass."""
    block.zero_grad()
    x = x.clone().requires_grad_()
    y = run(x)
    y.float().square().sum().backward()
    gradients = {n: p.grad for n, p in block.named_parameters()}
    return {"y": y, "gradient of the input": x.grad, **gradients, **dict(block.named_buffers())}


@pytest.mark.parametrize(
    ("name", "kwargs"),
    sampled(VARIANTS, lambda v: not v[1] and v[0] in COMPILED, lambda v: "campaign" if v[1] else "slow"),
    ids=IDS,
)
def test_a_compiled_block_gives_the_same_values_and_gradients(name, kwargs):
    """In training at a second size too: from then on torch compiles for sizes that vary, as training at scales has."""
    for train in (True, False):
        plain = make(name, kwargs).double().train(train)
        block = copy.deepcopy(plain)
        compiled = in_one_graph(block)
        for shape in [(2, 16, 5, 7), (3, 16, 6, 9)] if train else [(2, 16, 5, 7)]:
            x = rand(*shape, dtype=torch.float64)
            found, expected = results(block, compiled, x), results(plain, plain, x)
            assert list(found) == list(expected)
            for what, value in found.items():
                said = f"{what} at {shape}, train={train}: ".__add__
                torch.testing.assert_close(value, expected[what], msg=said)
        torch._dynamo.reset()


@pytest.mark.parametrize("name", sampled(ya.ATTENTION_BLOCKS, COMPILED, "slow"))
def test_a_compiled_block_gives_the_same_under_autocast(name):
    plain, x = make(name, {}), rand(2, 16, 5, 7)
    block = copy.deepcopy(plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = results(block, in_one_graph(block), x), results(plain, plain, x)
    close(found["y"], expected["y"], name, rtol=0.05, atol=0.05)
    assert {what: v.dtype for what, v in found.items()} == {what: v.dtype for what, v in expected.items()}
    assert not [what for what, value in found.items() if not torch.isfinite(value).all()]


def test_a_large_map_is_no_reason_to_leave_the_graph_for_a_warning():
    block = make("NL", {}, 2).eval()
    x = rand(1, 2, 65, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        y = in_one_graph(block)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.testing.assert_close(y, block(x))


# --- whole models, as the trainer compiles them -----------------------------------------------------------------------
def detector(*rows):
    """Return a minimal detector with the given rows, in training mode."""
    backbone = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], *rows]
    model = {"nc": 3, "backbone": backbone, "head": [[[-1], 1, "Detect", ["nc"]]]}
    return tasks.DetectionModel(model, verbose=False).train()


def graph_breaks(model):
    """Return the reasons of graph breaks, each with its innermost line of code.

    The trainer compiles the model itself and calls it, under autocast, with the images alone: the loss stays outside.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch._dynamo.explain(model)(torch.rand(2, 3, 64, 64))
    return [(reason.reason, reason.user_stack[-1]) for reason in found.break_reasons]


@pytest.fixture(scope="module")
def breaks_of_the_host():
    torch._dynamo.reset()
    return len(
        graph_breaks(detector([-1, 1, "C3k2", [32, True]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "SPPF", [16, 5]]))
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ya.ATTENTION_BLOCKS)
def test_a_model_with_blocks_has_no_graph_break_of_theirs(name, breaks_of_the_host):
    row = [-1, 1, name, [{"init": "identity"}]]
    inside = [[-1, 1, f"C3k2_{name}@inner", [32, True]], [-1, 1, f"Conv_{name}@outer", [16, 3, 2]]]
    inside.append([-1, 1, f"SPPF_{name}@concat", [16, 5]])
    found = graph_breaks(detector(row, row, row, *inside))
    assert not [(why, place) for why, place in found if Path(place.filename).is_relative_to(PACKAGE)]
    assert len(found) == breaks_of_the_host, found
