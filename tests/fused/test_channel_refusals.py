"""Where the fused forms of the blocks with a context leave a block to its plain form, and why."""

import pytest
import torch
from instruments.fused_cases import REFUSED, WIDEST

from yolo_attn.blocks import ATTENTION_BLOCKS, fused

pytest.importorskip("triton")


def refusal(name, channels, **options):
    block = ATTENTION_BLOCKS[name](channels, **options)
    return fused._form(block.fused).refuses(block, torch.empty(1, channels, 2, 2))


@pytest.mark.parametrize("name", sorted(WIDEST))
def test_layers_too_wide_for_each_program_are_refused(name):
    assert refusal(name, WIDEST[name]) is None
    limit = "channels, more than 16" if name == "EMA" else "weights, more than 131072"
    assert limit in refusal(name, WIDEST[name] + 8)


@pytest.mark.parametrize("name", ["SE", "GC"])
def test_usual_widths_are_taken_and_hidden_layers_of_any_width_are_not(name):
    assert refusal(name, 1280) is None
    assert refusal(name, 64, min_hidden=600) == "its layers have 600 hidden values, more than 512"


def test_a_convolution_at_the_end_is_refused():
    for options in REFUSED["scSE"]:
        assert "convolution" in refusal("scSE", 64, **options)


def test_maps_of_many_positions_are_refused():
    block = ATTENTION_BLOCKS["SE"](16)
    form = fused._form(block.fused)
    assert form.refuses(block, torch.empty(1, 16, 256, 512, device="meta")) is None
    assert form.refuses(block, torch.empty(1, 16, 257, 512, device="meta")) == (
        "the map has 131584 positions, more than 131072"
    )
