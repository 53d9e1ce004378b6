"""The autograd node and the operators of the fused forms beside the plain blocks: ``pytest -m interpreter``."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from instruments.fused_cases import FUSED
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from yolo_attn.blocks import ATTENTION_BLOCKS, fused

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1, as `-m interpreter` sets it"
    ),
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning"),
]
SHAPE = (2, 16, 3, 5)
FEW_PROGRAMS = {"SGE": {"groups": 2}, "ELA": {"variant": "T"}}
"""Options with which a block takes the interpreter less time."""


@pytest.fixture(params=[name for name in ("SGE", "sSE", "SE", "CA", "SimAM") if name in FUSED])
def name(request):
    """One block of each kind of form: one kernel, no bias, two kernels, statistics between them, no parameters."""
    return request.param


@pytest.fixture(params=FUSED)
def any_name(request):
    return request.param


def made(name, training=True):
    """Return a block with random parameters and running statistics."""
    torch.manual_seed(0)
    block = ATTENTION_BLOCKS[name](SHAPE[1], **FEW_PROGRAMS.get(name, {})).train(training)
    for key, value in block.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if "running_var" in key else 0.5 * torch.randn(value.shape))
    return block


def a_map(*shape, seed=1, **options):
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed)).to(**options)


def same(name, compute, training=True, bounds=None):
    """Check that a function of a block gives the same by the fused form and plainly; return what the form gave."""
    block = made(name, training)
    twin = copy.deepcopy(block)
    with fused.fused():
        found = compute(block)
    assert fused.paths()[name] == "fused", fused.paths()
    with fused.fused(False):
        right = compute(twin)
    torch.testing.assert_close(found, right, **(bounds or {"rtol": 2e-4, "atol": 2e-5}))
    torch.testing.assert_close(dict(block.named_buffers()), dict(twin.named_buffers()), **(bounds or {}))
    return found


def gradients(block, x, gy, **options):
    """Return the result and the gradients of the map and of all parameters."""
    y = block(x)
    return [y, *torch.autograd.grad(y, [x, *block.parameters()], gy, **options)]


# --- gradients --------------------------------------------------------------------------------------------------------
def test_second_derivatives_are_those_of_the_plain_block(name):
    def penalty(block):
        x = a_map().requires_grad_()
        _, gx, *rest = gradients(block, x, a_map(seed=2), create_graph=True)
        total = gx.square().sum() + sum(g.square().sum() for g in rest)
        return torch.autograd.grad(total, [x, *block.parameters()], allow_unused=True)

    same(name, penalty)


def test_second_derivatives_under_autocast(name):
    def penalty(block):
        x = a_map(dtype=torch.bfloat16).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = block(x)
        (gx,) = torch.autograd.grad(y, x, a_map(seed=2, dtype=torch.bfloat16), create_graph=True)
        (found,) = torch.autograd.grad(gx.float().square().sum(), x)
        return found.float()

    found = same(name, penalty, bounds={"rtol": 1, "atol": 0.5})
    assert found.isfinite().all()


def test_a_block_twice_in_a_graph_adds_its_gradients(name):

    def compute(block):
        x = a_map().requires_grad_()
        block(block(x)).backward(a_map(seed=2))
        return [x.grad, *(p.grad for p in block.parameters())]

    same(name, compute)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(name, reentrant):
    """Running statistics are updated once more by the second forward pass, as those of the plain block are."""

    def compute(block):
        x = a_map().requires_grad_()
        checkpoint(block, x, use_reentrant=reentrant).backward(a_map(seed=2))
        return [x.grad, *(p.grad for p in block.parameters())]

    same(name, compute)


def test_frozen_parameters_and_maps_without_a_gradient(name):
    parameters = [key for key, _ in made(name).named_parameters()]

    def compute(block, trained, x):
        for key, parameter in block.named_parameters():
            parameter.requires_grad_(key in trained)
        y = block(x)
        assert y.requires_grad == bool(trained or x.requires_grad)
        if y.requires_grad:
            y.backward(a_map(seed=2))
        return [y, *(g for g in (x.grad, *(p.grad for p in block.parameters())) if g is not None)]

    for trained in ([], parameters[:1], parameters):
        for wanted in (True, False):
            found = same(name, lambda b, t=trained, w=wanted: compute(b, t, a_map().requires_grad_(w)))
            assert len(found) == 1 + len(trained) + wanted


@pytest.mark.parametrize("layout", ["expanded", "scalar", "transposed", "other", "slice"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_the_result_in_any_layout(name, layout, memory_format):
    other = torch.channels_last if memory_format == torch.contiguous_format else torch.contiguous_format
    gy = {
        "expanded": a_map(2, 16, 1, 1).expand(SHAPE),
        "scalar": torch.ones(()).expand(SHAPE),
        "transposed": a_map(2, 16, 5, 3).transpose(2, 3),
        "other": a_map().to(memory_format=other),
        "slice": a_map(2, 32, 3, 5)[:, 16:],
    }[layout]
    same(name, lambda block: gradients(block, a_map(memory_format=memory_format).requires_grad_(), gy))


def test_maps_that_are_parts_of_others(name):
    for whole in (a_map(2, 32, 3, 5), a_map(2, 32, 3, 5, memory_format=torch.channels_last)):
        same(name, lambda block, x=whole: gradients(block, x.chunk(2, 1)[1].requires_grad_(), a_map(seed=2)))
        same(name, lambda block, x=whole: gradients(block, x[:, ::2].requires_grad_(), a_map(seed=2)))
    same(name, lambda block: gradients(block, a_map(1, 16, 3, 5).expand(SHAPE).requires_grad_(), a_map(seed=2)))


def test_infinite_and_missing_gradients_reach_the_scaler(name):
    for bad in (float("inf"), float("nan")):
        gy = a_map(seed=2)
        gy[0, 0, 0, 0] = bad
        with fused.fused():
            _, gx, *rest = gradients(made(name), a_map().requires_grad_(), gy)
        assert not gx.isfinite().all()
        assert not rest or not all(g.isfinite().all() for g in rest)


# --- modes ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_result_is_the_same(name, mode):
    block, x = made(name, training=False), a_map()
    with fused.fused():
        recorded = block(x.clone().requires_grad_())
        with mode():
            y = block(x)
    assert recorded.requires_grad
    assert not y.requires_grad
    assert torch.equal(recorded, y)


def test_autocast_computes_from_half_maps_and_whole_weights(name):
    def compute(block):
        x = a_map(dtype=torch.bfloat16).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = block(x)
        y.backward(a_map(seed=2, dtype=torch.bfloat16))
        assert y.dtype == x.grad.dtype == torch.bfloat16
        assert all(p.grad.dtype == torch.float32 for p in block.parameters())
        return [y.float(), x.grad.float()]

    same(name, compute, bounds={"rtol": 0.05, "atol": 0.05})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_block_in_half_precision(name, dtype):
    block, x = made(name).to(dtype), a_map(dtype=dtype).requires_grad_()
    exact = copy.deepcopy(block).double()
    with fused.fused():
        y, *found = gradients(block, x, a_map(seed=2, dtype=dtype))
    assert {g.dtype for g in (y, *found)} == {dtype}
    with fused.fused(False):
        wide = gradients(exact, x.detach().double().requires_grad_(), a_map(seed=2, dtype=dtype).double())
    for g, w in zip((y, *found), wide, strict=True):
        assert (g.double() - w).norm() <= 2e-2 * w.norm().clamp_min(0.1)


def test_two_runs_give_the_same_bits(name):
    runs = []
    with fused.fused():
        for _ in range(2):
            runs.append(gradients(made(name), a_map(4, 16, 9, 9).requires_grad_(), a_map(4, 16, 9, 9, seed=2)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_functional_calls_compute_with_the_given_parameters(name):
    given = {key: a_map(*p.shape, seed=7) for key, p in made(name).named_parameters()}
    same(name, lambda block: torch.func.functional_call(block, given, (a_map(),)))


# --- several processes ------------------------------------------------------------------------------------------------
def _rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    fused.fused()
    found = {}
    for name in FUSED:
        if not list(made(name).parameters()):
            continue
        wrapped = DistributedDataParallel(made(name), broadcast_buffers=False, find_unused_parameters=True)
        for step in range(2):
            wrapped.zero_grad()
            wrapped(a_map(seed=rank)).backward(a_map(seed=10 + rank + step))
        found[name] = [p.grad for p in wrapped.parameters()], fused.paths()[name]
    torch.save(found, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def test_gradients_are_means_over_ranks(tmp_path):
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first
    for name, (found, path) in first.items():
        assert path == "fused"
        own = []
        for rank in range(2):
            block = made(name)
            for step in range(2):
                block.zero_grad()
                block(a_map(seed=rank)).backward(a_map(seed=10 + rank + step))
            own.append([p.grad for p in block.parameters()])
        torch.testing.assert_close(found, [(a + b) / 2 for a, b in zip(*own, strict=True)], rtol=2e-4, atol=2e-5)
        torch.testing.assert_close(found, second[name][0])


# --- the operators ----------------------------------------------------------------------------------------------------
def test_the_operators_keep_their_word(name, monkeypatch):
    """New memory is 0 here: SE leaves places of its saved values empty that only other forms use, which is compared."""
    from yolo_attn.blocks.fused import node

    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *args, **given: empty(*args, **given).zero_())

    block = made(name, training=False)
    form, names = fused._form(block.fused), f"{block.fused} {name}"
    parameters = form.parameters(block)
    given, there = [p.detach() for p in parameters if p is not None], [p is not None for p in parameters]
    x, told = a_map(), (there, form.settings(block), names)
    out = torch.ops.yolo_attn.fused(x, given, *told)
    torch.library.opcheck(node._operator, (x, given, *told))
    wanted = [p.clone().requires_grad_() for p in given]
    torch.library.opcheck(node._operator, (x.clone().requires_grad_(), wanted, *told))
    torch.library.opcheck(node._backward_operator, (a_map(seed=2), x, out[1:], given, *told))


@pytest.mark.parametrize("training", [True, False])
def test_compiled_blocks_are_one_graph_with_the_operator(name, training):
    seen = []

    def backend(graph, inputs):
        from torch._dynamo.backends.debugging import aot_eager

        seen.append(str(graph.graph))
        return aot_eager(graph, inputs)

    def compute(block):
        torch._dynamo.reset()
        compiled = torch.compile(block, fullgraph=True, backend=backend)
        found = []
        for size in ((3, 5), (4, 7), (6, 2), (1, 1)):
            x = a_map(2, 16, *size).requires_grad_()
            y = compiled(x)
            found += [y, *torch.autograd.grad(y, [x, *block.parameters()], a_map(2, 16, *size, seed=2))]
        with torch.no_grad():
            found.append(compiled(a_map(4, 16, 5, 5)))
        return found

    block = made(name, training)
    twin = copy.deepcopy(block)
    with fused.fused():
        found = compute(block)
    assert all("yolo_attn.fused" in graph for graph in seen)
    assert len(seen) <= 4
    with fused.fused(False):
        right = []
        for size in ((3, 5), (4, 7), (6, 2), (1, 1)):
            right += gradients(twin, a_map(2, 16, *size).requires_grad_(), a_map(2, 16, *size, seed=2))
        with torch.no_grad():
            right.append(twin(a_map(4, 16, 5, 5)))
    torch.testing.assert_close(found, right, rtol=2e-4, atol=2e-5)
    torch.testing.assert_close(dict(block.named_buffers()), dict(twin.named_buffers()))


def test_a_process_may_begin_with_a_compiled_block():
    program = """
import torch, yolo_attn as ya
from yolo_attn.blocks import fused
with ya.fused():
    torch.compile(ya.blocks.SGE(16), fullgraph=True, backend="aot_eager")(torch.rand(1, 16, 3, 5)).sum().backward()
assert fused.paths() == {"SGE": "fused"}, fused.paths()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_inductor_keeps_the_operator(name):
    def compute(block):
        torch._dynamo.reset()

        def around(x):
            return block(x * 2) + 1

        x = a_map().requires_grad_()
        y = (torch.compile(around, fullgraph=True) if fused.is_on() else around)(x)
        return [y, *torch.autograd.grad(y, [x, *block.parameters()], a_map(seed=2))]

    same(name, compute)


def test_a_kernel_that_fails_in_a_compiled_graph_says_how_to_do_without(name, monkeypatch):
    from yolo_attn.blocks.fused import slab

    def fail(*_, **__):
        raise RuntimeError("no compiler")

    torch._dynamo.reset()
    compiled, x = torch.compile(made(name), fullgraph=True, backend="aot_eager"), a_map()
    with fused.fused(), torch.no_grad():
        compiled(x)
        monkeypatch.setattr(slab, "launch", fail)
        with pytest.raises(Exception, match=f"the kernel of {name} failed in a compiled graph.*YOLO_ATTN_FUSED=0"):
            compiled(x)
