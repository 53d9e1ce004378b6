"""The fused forms of the blocks with a context, where an image takes several tiles, and where both gates tie."""

import os

import pytest
import torch
from instruments.fused_cases import Case, errors, inputs, made, options_of, values

from yolo_attn.blocks import fused

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs TRITON_INTERPRET=1"),
]
BLOCKS = ("SE", "cSE", "ECA", "GC", "SNL", "scSE")
CASES = [Case(name, options, (2, 24, 5, 7), torch.float32, False) for name in BLOCKS for options in options_of(name)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_takes_several_tiles_of_channels_and_an_image_several_programs(case, monkeypatch):
    from yolo_attn.blocks.fused import channel

    for name, value in {"_PROGRAMS": 3, "_LONGEST": 16, "_TILE": 128, "_STAGE_TILE": 64}.items():
        monkeypatch.setattr(channel, name, value)
    monkeypatch.setattr(channel, "_plan", channel._plan.__wrapped__)
    plan = channel._plan(tuple(channel._Settings(width=3)), 2, 24, 35)
    assert plan.programs == (2, 3)
    assert [plan.constants["write"][name] for name in ("BC", "BP", "CS")] == [16, 16, 16]
    assert not {name: e for name, e in errors(case).items() if not e < (1e-5 if name in ("y", "x") else 5e-5)}


def test_where_both_products_of_a_maximum_are_equal_each_gate_gets_half_of_the_gradient():
    case = Case("scSE", (("combine", "max"),), (1, 16, 5, 7), torch.float32, False)
    x, gy = inputs(case)
    with fused.fused():
        found = values(made(case), x.relu(), gy)
    with fused.fused(False):
        right = values(made(case), x.relu(), gy)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
