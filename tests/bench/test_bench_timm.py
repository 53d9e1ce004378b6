"""timm's blocks: what is called the same has to compute the same."""

from __future__ import annotations

import sys

import pytest
import torch
from support.block_cases import ADAPTED
from support.equations import randomized, run

from yolo_attn.bench import timm_blocks
from yolo_attn.blocks import ATTENTION_BLOCKS

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings(ADAPTED)]
SAME = [name for name in timm_blocks.NOTES if timm_blocks.is_same(name)]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", SAME)
def test_the_same_is_the_same_forward_and_backward(name, training):
    pytest.importorskip("timm")
    block = randomized(ATTENTION_BLOCKS[name](64).double()).train(training)
    beside = timm_blocks.from_block(name, block)
    generator = torch.Generator().manual_seed(3)
    x, upstream = (torch.randn(2, 64, 5, 7, dtype=torch.float64, generator=generator) for _ in range(2))
    (ours, buffers), (theirs, their_buffers) = run(block, x, upstream), run(beside, x, upstream)
    for one, other in zip(ours, theirs, strict=True):
        other = other.flip(1) if name == "CBAM" and one.shape == block.conv.weight.shape else other
        torch.testing.assert_close(other.reshape(one.shape), one, rtol=1e-9, atol=1e-10)
    for one, other in zip(buffers, their_buffers, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("name", ["NL", "ELA"])
def test_the_alike_keep_the_shape_and_differ(name):
    pytest.importorskip("timm")
    block = randomized(ATTENTION_BLOCKS[name](64))
    x = torch.randn(2, 64, 5, 7)
    y = timm_blocks.from_block(name, block)(x)
    assert y.shape == x.shape
    assert not torch.allclose(y, block(x), atol=1e-3)


def test_others_have_no_counterpart():
    assert set(timm_blocks.NOTES) < set(ATTENTION_BLOCKS)
    assert timm_blocks.from_block("SGE", ATTENTION_BLOCKS["SGE"](64)) is None


def test_without_timm_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.layers", None)
    with pytest.raises(ImportError):
        timm_blocks.from_block("SE", ATTENTION_BLOCKS["SE"](64))
