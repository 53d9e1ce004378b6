"""CBAM's fused form beyond values and gradients: its norm in all states, ties, several tiles in a program."""

import os

import pytest
import torch
from instruments.fused_cases import Case, errors, inputs, made, values
from torch import nn

from yolo_attn.blocks import fused

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1"),
]
CASE = Case("CBAM", (), (2, 16, 5, 7), torch.float32, False)


def both(block, case=CASE, change=lambda x: x):
    """Return values and gradients of a block by its form and by itself, and its buffers after each."""
    found, state = [], {name: value.clone() for name, value in block.state_dict().items()}
    x, gy = inputs(case)
    for on in (True, False):
        block.load_state_dict(state)
        with fused.fused(on):
            found.append(values(block, change(x), gy) | {name: b.clone() for name, b in block.named_buffers()})
        if on:
            assert fused.paths()["CBAM"] == "fused"
    return found


def check(found, right):
    for name, value in found.items():
        torch.testing.assert_close(value, right[name], rtol=2e-4, atol=2e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_several_tiles_in_a_program(monkeypatch):
    from yolo_attn.blocks.fused import cbam

    monkeypatch.setattr(cbam, "_PROGRAMS", 2)
    cbam._grid.cache_clear()
    wrong = errors(CASE._replace(shape=(1, 16, 13, 17)))
    cbam._grid.cache_clear()
    assert max(wrong.values()) < 5e-5, wrong


def test_running_statistics_several_times():
    block = made(CASE)
    with fused.fused():
        for _ in range(2):
            block(inputs(CASE)[0])
    mean, var = block.norm.running_mean.clone(), block.norm.running_var.clone()
    plain = made(CASE)
    with fused.fused(False):
        for _ in range(2):
            plain(inputs(CASE)[0])
    torch.testing.assert_close(mean, plain.norm.running_mean)
    torch.testing.assert_close(var, plain.norm.running_var)
    assert block.norm.num_batches_tracked == 2


def test_frozen_norm_in_training():
    block = made(CASE)
    block.norm.eval()
    found, right = both(block)
    check(found, right)
    assert found["norm.num_batches_tracked"] == 0


def test_folded_norm():
    block = made(CASE, "cpu").eval()
    block.fuse()
    block.conv.requires_grad_(True)  # as `values` asks for all gradients
    check(*both(block))


def test_the_first_of_equal_values_gets_the_gradient():
    def tied(x):
        x = x.clone()
        x[:, :, 1, 2] = x[:, :, 3, 4] = x[:, :, 3, 5] = 3.0  # the maximum of each channel
        x[:, 5, 0] = x[:, 9, 0] = 0.0
        return x

    block = made(CASE)
    with torch.no_grad():
        block.excite.weight.zero_()  # equal gates, so that channels tie as well
        block.excite.bias.zero_()
    check(*both(block, change=tied))


@pytest.mark.parametrize(
    ("norm", "reason"),
    [(nn.SyncBatchNorm(1), "replaced"), (nn.BatchNorm2d(1, momentum=None), "no momentum")],
)
def test_other_norms_are_computed_plainly(norm, reason):
    block = made(CASE)
    block.norm = norm.eval()
    with fused.fused(), torch.no_grad():
        block(inputs(CASE)[0])
    assert reason in fused.paths()["CBAM"]


def test_autograd_sees_no_change_of_the_running_statistics():
    block, (x, gy) = made(CASE), inputs(CASE)
    with fused.fused():  # twice in one graph
        y = block(x.requires_grad_()) + block(2 * x)
        y.backward(gy)
    assert x.grad is not None


def test_compiled():
    block, (x, gy) = made(CASE), inputs(CASE)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    with fused.fused():
        found = values(compiled, x, gy)
    found = {name.replace("_orig_mod.", ""): value for name, value in found.items()}
    found |= {name: value.clone() for name, value in block.named_buffers()}
    again = made(CASE)
    with fused.fused(False):
        right = values(again, x, gy) | dict(again.named_buffers())
    check(found, right)
