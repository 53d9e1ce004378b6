"""The tutorial forms compute exactly what the blocks compute: they may differ in time only."""

from __future__ import annotations

import pytest
import torch
from support.block_cases import ADAPTED
from support.equations import CASES, case_id, randomized, run

from yolo_attn.bench.tutorial import TUTORIALS, from_block
from yolo_attn.blocks import ATTENTION_BLOCKS

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings(ADAPTED)]

WITHOUT: set[str] = set()
"""Blocks of which no copy is so common that it could be called the usual form."""

SHAPES = [(3, 5, 7), (2, 13, 17), (4, 8, 8)]  # images, height, width


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "channels", "hyper"), [c[:3] for c in CASES if c[0] not in WITHOUT], ids=case_id)
def test_tutorial_equals_the_block_forward_and_backward(name, channels, hyper, training, layout):
    generator = torch.Generator().manual_seed(0)
    for images, height, width in SHAPES:
        block = randomized(ATTENTION_BLOCKS[name](channels, **hyper).double()).train(training)
        tutorial = from_block(block)
        x, upstream = (
            torch.randn(images, channels, height, width, dtype=torch.float64, generator=generator).to(
                memory_format=layout
            )
            for _ in range(2)
        )
        ours, buffers = run(block, x, upstream)
        theirs, their_buffers = run(tutorial, x, upstream)
        what = ["output", "gradient of x", *(n for n, _ in block.named_parameters())]
        for one, other, label in zip(ours, theirs, what, strict=True):
            torch.testing.assert_close(
                other.reshape(one.shape), one, rtol=1e-9, atol=1e-10, msg=lambda m, label=label: f"{name} {label}: {m}"
            )
        for one, other in zip(buffers, their_buffers, strict=True):
            torch.testing.assert_close(other, one)


def test_every_shipped_block_with_a_common_copy_has_a_tutorial():
    assert set(TUTORIALS) == {cls for name, cls in ATTENTION_BLOCKS.items() if name not in WITHOUT}
    assert set(ATTENTION_BLOCKS) >= WITHOUT


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [name for name in ATTENTION_BLOCKS if name not in WITHOUT])
def test_tutorials_run_in_half_precision(name, dtype):
    tutorial = from_block(ATTENTION_BLOCKS[name](16).to(dtype))
    x = torch.randn(2, 16, 13, 17, dtype=dtype)
    y = tutorial(x.requires_grad_(True))
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert y.isfinite().all()


def test_weights_are_copied_and_not_shared():
    block = ATTENTION_BLOCKS["SE"](16)
    tutorial = from_block(block)
    with torch.no_grad():
        for parameter in tutorial.parameters():
            parameter.zero_()
    assert all(p.abs().sum() > 0 for p in block.parameters())


def test_gates_up_to_two_and_unknown_blocks_are_refused():
    with pytest.raises(ValueError, match="init='paper'"):
        from_block(ATTENTION_BLOCKS["SE"](16, init="identity"))
    with pytest.raises(ValueError, match="no tutorial form of Identity"):
        from_block(torch.nn.Identity())
