"""Where blocks are computed by their fused forms, and where and why not; kernels are not carried out here."""

import copy
import pickle
import runpy
import subprocess
import sys
import warnings

import pytest
import torch
from instruments.fused_cases import FUSED, options_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

import yolo_attn as ya
from yolo_attn.blocks import ATTENTION_BLOCKS, fused

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not fit 16 channels:UserWarning"),
]
ONE = [FUSED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FUSED[1:])]
"""All blocks with a form, by default only the first: for tests that take seconds."""


@pytest.fixture
def launched(monkeypatch):
    """Have blocks use their forms on the CPU; return the list of kernels that would be launched."""
    from yolo_attn.blocks.fused import slab

    kernels = []
    monkeypatch.setattr(fused, "unavailable", lambda: None)
    monkeypatch.setattr(fused, "_interpreted", lambda: True)
    monkeypatch.setattr(fused, "_paths", {})
    monkeypatch.setattr(fused, "_broken", {})
    monkeypatch.setattr(slab, "launch", lambda kernel, *_, **__: kernels.append(kernel))
    with fused.fused():
        yield kernels


@pytest.fixture
def failing(launched, monkeypatch):
    """Return a function that says from when on launches fail, and as which error."""
    from yolo_attn.blocks.fused import slab

    def fail(error):
        def launch(*_, **__):
            raise error

        monkeypatch.setattr(slab, "launch", launch)

    return fail


def made(name, **options):
    """Return a block with random parameters."""
    torch.manual_seed(0)
    block = ATTENTION_BLOCKS[name](16, **options)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return block


def a_map(*shape, **options):
    return torch.randn(shape or (2, 16, 3, 5), generator=torch.Generator().manual_seed(1), **options)


def path(block):
    return fused.paths().get(block.yaml_name)


def plain(block, x):
    """Return what a copy of a block gives plainly, so that running statistics stay."""
    with fused.fused(False):
        return copy.deepcopy(block)(x)


# --- the switch -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("given", "on"), [(None, False), ("", False), ("0", False), ("1", True), ("eager", True)])
def test_the_forms_are_off_unless_the_environment_says_1(given, on, monkeypatch):
    monkeypatch.delenv(fused.VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(fused.VARIABLE, given)
    found = runpy.run_path(fused.__file__)
    assert found["is_on"]() is on
    assert found["_in_graphs"] is (given != "eager")


def test_another_value_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv(fused.VARIABLE, "yes")
    with pytest.raises(ya.YoloAttnError, match="YOLO_ATTN_FUSED=yes: give 1 to switch the fused forms on, eager to"):
        runpy.run_path(fused.__file__)


def test_the_switch_stays_or_lasts_for_a_block():
    before = fused.is_on()
    try:
        ya.fused()
        assert fused.is_on()
        with ya.fused(False):
            assert not fused.is_on()
            with ya.fused(True):
                assert fused.is_on()
            assert not fused.is_on()
        with pytest.raises(ZeroDivisionError), ya.fused(False):
            _ = 1 / 0
        assert fused.is_on()
        ya.fused(False)
        assert not fused.is_on()
        with pytest.raises(ya.YoloAttnError, match=r"fused\('off'\): give True or False"):
            ya.fused("off")
        with pytest.raises(ya.YoloAttnError, match="fused\\(compiled=0\\): give True or False"):
            ya.fused(compiled=0)
        assert not fused.is_on()
    finally:
        fused.switch(before)


def test_the_switch_is_there_without_torch_until_it_is_used():
    code = "import sys, yolo_attn as ya; assert 'fused' in dir(ya) and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", FUSED)
def test_a_form_is_used_only_where_it_is_switched_on(name, launched):
    block, x = made(name), a_map()
    block(x)
    assert launched
    assert path(block) == "fused"
    launched.clear()
    with ya.fused(False):
        block(x)
    assert not launched


def test_compiled_graphs_can_be_left_to_inductor(launched):
    block, x = made("SGE"), a_map()
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    with ya.fused(compiled=False):
        assert fused.describe() == "on, but not under torch.compile"
        torch.testing.assert_close(compiled(x), plain(block, x))
        assert not launched
        block(x)
        assert launched
    launched.clear()
    compiled(x)
    assert launched, "the setting before is in force again"


# --- where it cannot be used ------------------------------------------------------------------------------------------
def test_what_is_missing_is_said(monkeypatch):
    unavailable = fused.unavailable.__wrapped__
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(fused, "_interpreted", lambda: False)
    assert unavailable() == "there is no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert unavailable() is None
    monkeypatch.setitem(sys.modules, "triton", None)
    assert unavailable() == "Triton cannot be imported (ModuleNotFoundError)"
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu124")
    assert unavailable() == "torch 2.5.1+cu124 is older than 2.6"
    monkeypatch.setattr(fused, "unavailable", unavailable)
    assert fused.describe() == "off (torch 2.5.1+cu124 is older than 2.6)"


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (a_map(device="meta"), "the map is on meta"),
        (a_map(dtype=torch.float64), "the map is torch.float64"),
        (a_map(0, 16, 3, 5), "the map has 0 values"),
        (a_map(16, 3, 5), "the map has the shape (16, 3, 5)"),
        (a_map(2, 8, 3, 5), "the map has the shape (2, 8, 3, 5)"),
        (a_map().transpose(2, 3), "the positions of the map are not in one sequence in memory"),
        (a_map(2, 16, 6, 5)[:, :, ::2], "the positions of the map are not in one sequence in memory"),
        (torch.zeros(1).expand(2**11, 16, 2**9, 2**8), "the map has 4294967296 values"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_maps_that_kernels_do_not_take_are_computed_plainly(x, why, launched):
    assert {fused._reason(made(name), x) for name in FUSED} == {why}


@pytest.mark.parametrize("name", FUSED)
def test_layouts_that_kernels_take(name, launched):
    block = made(name)
    for x in (
        a_map().to(memory_format=torch.channels_last),
        a_map(2, 32, 3, 5).chunk(2, 1)[1],
        a_map(2, 32, 3, 5).to(memory_format=torch.channels_last)[:, ::2],
        a_map(1, 16, 1, 1).expand(2, 16, 3, 5),
        a_map(2, 16, 7, 1),
        a_map(2, 16, 1, 7),
    ):
        y = block(x)
        assert path(block) == "fused"
        assert y.shape == x.shape


def test_an_empty_batch_is_computed_plainly(launched):
    for name in FUSED:
        block = made(name).eval()
        assert block(a_map(0, 16, 3, 5)).shape == (0, 16, 3, 5)
        assert path(block) == "plain: the map has 0 values"


@pytest.mark.parametrize("name", ONE)
def test_traced_and_exported_blocks_are_plain(name, launched):
    block, x = made(name).eval(), a_map()
    traced = torch.jit.trace(block, x, check_trace=False)
    exported = torch.export.export(block, (x,))
    assert not launched
    assert "yolo_attn" not in str(exported.graph)
    for found in (traced(x), exported.module()(x)):
        torch.testing.assert_close(found, plain(block, x))


@pytest.mark.parametrize("name", FUSED)
def test_a_subclass_may_compute_something_else(name, launched):
    class Other(ATTENTION_BLOCKS[name]):
        def attention(self, x):
            return torch.zeros_like(x)

        def forward(self, x):
            return x * self.attention(x)

    assert not Other(16)(a_map()).any()
    assert not launched


def _hooked(module):
    module.register_forward_hook(lambda module, args, y: None)


CHANGES = {
    "hook": _hooked,
    "hook before": lambda module: module.register_forward_pre_hook(lambda module, args: None),
    "backward hook": lambda module: module.register_full_backward_hook(lambda *_: None),
    "pruned": lambda module: prune.l1_unstructured(module, "weight", 0.5),
    "parametrized": lambda module: parametrizations.weight_norm(module),
}


@pytest.mark.parametrize("change", CHANGES)
def test_layers_that_do_more_than_their_parameters_say(change, launched):
    for name in FUSED:
        for layer in [key for key, module in made(name).named_modules() if key and hasattr(module, "weight")]:
            block = made(name)
            if change == "parametrized" and block.get_submodule(layer).weight.dim() < 2:
                continue
            CHANGES[change](block.get_submodule(layer))
            block(a_map())
            assert path(block) == "plain: one of its layers has hooks or was replaced", (name, layer)


def test_layers_that_were_replaced(launched):
    for name in FUSED:
        for layer in [key for key, module in made(name).named_modules() if key and hasattr(module, "weight")]:
            block = made(name)
            found = block.get_submodule(layer)
            found.__class__ = type("Other", (type(found),), {})
            block(a_map())
            assert path(block) == "plain: one of its layers has hooks or was replaced", (name, layer)


@pytest.mark.parametrize("name", FUSED)
def test_hooks_of_the_block_itself_are_called(name, launched):
    block, seen = made(name), []
    block.register_forward_hook(lambda module, args, y: seen.append(y.shape))
    block.register_full_backward_hook(lambda module, gx, gy: seen.append(gy[0].shape))
    block(a_map().requires_grad_()).sum().backward()
    assert seen == [(2, 16, 3, 5)] * 2
    assert path(block) == "fused"


@pytest.mark.parametrize("name", FUSED)
def test_what_looks_at_single_operations_finds_them(name, launched):
    block, x = made(name).eval(), a_map()
    with FlopCounterMode(display=False):
        block(x)
    assert path(block) == "plain: a dispatch mode is at work"
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(x)
    block(fake)
    assert path(block) == "plain: a subclass of tensors (FakeTensor) is at work"
    assert not launched


@pytest.mark.parametrize("name", ONE)
def test_transforms_derive_single_operations(name, launched):
    block, x = made(name).eval(), a_map()

    def loss(x):
        return block(x).square().sum()

    found = torch.func.grad(loss)(x)
    with fused.fused(False):
        torch.testing.assert_close(found, torch.func.grad(loss)(x))
    assert path(block) == "plain: a torch.func transform is at work"
    many = torch.func.vmap(block)(a_map(3, 2, 16, 3, 5))
    with fused.fused(False):
        torch.testing.assert_close(many, torch.func.vmap(block)(a_map(3, 2, 16, 3, 5)))
        _, right = torch.func.jvp(block, (x,), (x,))
    with torch.autograd.forward_ad.dual_level():
        y = block(torch.autograd.forward_ad.make_dual(x, x))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(y).tangent, right)
    assert path(block) == "plain: forward-mode AD is at work"
    assert not launched


# --- kernels that fail ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FUSED)
def test_a_kernel_that_cannot_be_built_is_done_without(name, failing):
    block, x = made(name), a_map()
    right = plain(block, x)
    failing(RuntimeError("no compiler\nfor this device"))
    with pytest.warns(UserWarning, match=rf"{name}: its kernel failed \(RuntimeError: no compiler\); it is computed"):
        torch.testing.assert_close(block(x), right, rtol=0, atol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block(x)
        made(name)(x)
    assert path(block) == "plain: its kernel failed (RuntimeError: no compiler)"


@pytest.mark.parametrize("name", FUSED)
def test_a_kernel_of_the_backward_pass_that_cannot_be_built_is_done_without(name, failing):
    block, x = made(name), a_map().requires_grad_()
    twin, gy = copy.deepcopy(block), a_map()
    y = block(x)
    failing(RuntimeError("no registers left"))
    statistics = {key: value.clone() for key, value in block.named_buffers()}
    with pytest.warns(UserWarning, match="its kernel failed"):
        found = torch.autograd.grad(y, [x, *block.parameters()], gy)
    with fused.fused(False):
        right = torch.autograd.grad(twin(x), [x, *twin.parameters()], gy)
    torch.testing.assert_close(found, right, rtol=0, atol=0)
    assert all(torch.equal(value, statistics[key]) for key, value in block.named_buffers()), "updated a second time"
    assert path(block).startswith("plain: its kernel failed")


@pytest.mark.parametrize("name", FUSED)
def test_missing_memory_is_not_the_fault_of_a_kernel(name, failing):
    block, x = made(name), a_map().requires_grad_()
    y = block(x)
    failing(torch.cuda.OutOfMemoryError("out of memory"))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        block(x)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        y.sum().backward()
    assert not fused._broken


def test_what_the_plain_block_does_not_take_is_not_the_fault_of_a_kernel(failing):
    """Parameters on another device, say."""
    block = made("SGE")
    failing(ValueError("Pointer argument cannot be accessed from Triton"))
    with pytest.raises(RuntimeError, match="device"):
        block.to("meta")(a_map())
    assert not fused._broken


# --- the block stays what it is ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FUSED)
def test_the_order_in_which_parameters_were_set_does_not_matter(name):
    def places(parameters):
        return [None if p is None else p.data_ptr() for p in parameters]

    for options in options_of(name):
        block = made(name, **dict(options))
        form = fused._form(block.fused)
        before = places(form.parameters(block))
        assert {p.data_ptr() for p in block.parameters()} <= set(before)
        for module in block.modules():
            for key in reversed([*module._parameters]):
                module._parameters[key] = module._parameters.pop(key)
        assert places(form.parameters(block)) == before


@pytest.mark.parametrize("name", FUSED)
def test_copies_files_and_state_are_those_of_the_plain_block(name, launched):
    block = made(name)
    keys = set(vars(block))
    block(a_map().requires_grad_()).sum().backward()
    assert set(vars(block)) == keys
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert other.state_dict().keys() == made(name).state_dict().keys()
        launched.clear()
        other(a_map())
        assert launched
