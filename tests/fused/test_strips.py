"""Forms with gates along rows and columns: what they leave to the plain block, and the states of CA's BatchNorm."""

import copy
import os

import pytest
import torch
from instruments.fused_cases import Case, inputs, made, values
from torch import nn

from yolo_attn.blocks import fused
from yolo_attn.blocks.ca import CA
from yolo_attn.blocks.ela import ELA

pytest.importorskip("triton")


@pytest.mark.parametrize(
    ("options", "shape", "reason"),
    [
        ({"conv_groups": 1}, (1, 64, 8, 8), "its convolution adds 64 channels x 7 positions"),
        ({"kernel_size": 257}, (1, 64, 8, 8), "its convolution adds 1 channels x 257 positions"),
        ({"norm_groups": 1}, (1, 1024, 8, 8), "its groups together have 1024 channels"),
        ({}, (1, 64, 8000, 2), "its strips take 32768 values a group"),
        ({}, (1, 64, 160, 160), None),
        ({"variant": "T"}, (1, 64, 640, 640), None),
        ({"variant": "L", "bias": True}, (1, 512, 80, 80), None),
    ],
)
def test_ela_is_computed_plainly_where_little_is_gained(options, shape, reason):
    block = ELA(shape[1], **options)
    found = fused._form(block.fused).refuses(block, torch.empty(shape, device="meta"))
    assert found is None if reason is None else found.startswith(reason)


@pytest.mark.parametrize(
    ("norm", "options", "shape", "reason"),
    [
        (nn.SyncBatchNorm(8), {}, (1, 64, 8, 8), "its norm is SyncBatchNorm"),
        (nn.BatchNorm2d(8, track_running_stats=False), {}, (1, 64, 8, 8), "its BatchNorm2d has no weight, no running"),
        (nn.BatchNorm2d(8, affine=False), {}, (1, 64, 8, 8), "its BatchNorm2d has no weight, no running"),
        (nn.BatchNorm2d(8, momentum=None), {}, (1, 64, 8, 8), "its BatchNorm2d has no weight, no running"),
        (None, {"reduction": 2}, (1, 256, 8, 8), "its hidden width is 128"),
        (None, {}, (1, 64, 4096, 2), "height and width are together 4098"),
        (nn.Identity(), {}, (1, 64, 160, 160), None),
        (None, {}, (64, 1280, 80, 80), None),
    ],
)
def test_ca_is_computed_plainly_with_other_norms_and_sizes(norm, options, shape, reason):
    block = CA(shape[1], **options)
    block.norm = norm or block.norm
    found = fused._form(block.fused).refuses(block, torch.empty(shape, device="meta"))
    assert found is None if reason is None else found.startswith(reason)


def folded(block):
    block.eval().fuse()
    block.requires_grad_()


def with_frozen_norm(block):
    block.norm.eval()


def with_other_momentum(block):
    block.norm.momentum, block.norm.eps = 0.03, 1e-3


@pytest.mark.interpreter
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1")
@pytest.mark.parametrize("change", [folded, with_frozen_norm, with_other_momentum], ids=lambda f: f.__name__)
def test_every_state_of_batch_norm_gives_what_the_plain_block_gives(change):
    case = Case("CA", (), (2, 16, 5, 7), torch.float32, False)
    block, (x, gy) = made(case), inputs(case)
    exact = made(case).double()
    change(block)
    change(exact)
    before = copy.deepcopy(block.state_dict())
    with fused.fused():
        found = values(block, x, gy)
    assert fused.paths()["CA"] == "fused"
    with fused.fused(False):
        right = values(exact, x.double(), gy.double())
    least = 1e-3 * max(float(g.norm()) for g in right.values())
    found |= block.named_buffers()
    right |= exact.named_buffers()
    assert found.keys() == right.keys()
    for name, value in found.items():
        expected = right[name].double()
        assert float((value - expected).norm()) <= 2e-5 * max(float(expected.norm()), least), name
    if not block.norm.training:
        assert all(torch.equal(before[name], value) for name, value in block.state_dict().items())


@pytest.mark.interpreter
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1")
@pytest.mark.parametrize("name", ["ELA", "CA"])
def test_frozen_parameters_leave_the_gradient_of_the_map(name):
    case = Case(name, (), (2, 16, 5, 7), torch.float32, False)
    block, (x, gy) = made(case), inputs(case)
    with fused.fused():
        right = values(block, x, gy)["x"]
        x.requires_grad_()
        (found,) = torch.autograd.grad(block.requires_grad_(False)(x), x, gy)
    assert torch.equal(found, right)
