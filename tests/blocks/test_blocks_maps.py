"""Attention maps of every registered block: their shapes and ranges, and what the block computes with them."""

from __future__ import annotations

import math

import pytest
import torch
from support.block_cases import (
    IDS,
    INITS,
    MARKS,
    VARIANTS,
    close,
    every_variant,
    make,
    maps,
    rand,
)
from torch import nn

from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.blocks.base import MAPS
from yolo_attn.gates.gate import NAMES
from yolo_attn.show.pictures import SENTENCES

pytestmark = MARKS

SHAPES = {  # of two images with 16 channels in G groups, 5 x 7, by kind of map
    "channel": lambda block: (2, 16, 1, 1),
    "rows": lambda block: (2, 16, 5, 1),
    "columns": lambda block: (2, 16, 1, 7),
    "spatial": lambda block: (2, 1, 5, 7),
    "groups": lambda block: (2, block.groups, 5, 7),
    "full": lambda block: (2, 16, 5, 7),
    "cells": lambda block: (2, 16, block.local_size, block.local_size),
    "channel half": lambda block: (2, 8, 1, 1),
    "full half": lambda block: (2, 8, 5, 7),
    "kernels": lambda block: (2, 2, 5, 7),
    "factors": lambda block: (2, 16, 5, 7),
    "branches": lambda block: (2, len(block.branches), 16),
    "weights": lambda block: (2, 1, 5, 7),
    "pairs": lambda block: (2, 35, 35),
}
HARD = {"ESE"}  # gates that reach the ends of their range
WEIGHTS = {"branches", "weights", "pairs"}  # all others multiply


def test_every_kind_of_map_has_a_shape_here_and_a_name_where_gates_are_drawn():
    assert set(SHAPES) == set(MAPS) == set(NAMES) - {"product", "other"} == set(SENTENCES) - {"product"}


@every_variant
def test_attention_maps_have_their_declared_shape_and_range(name, kwargs):
    for init in INITS:
        block = make(name, kwargs, init=init).eval()
        found = maps(block, rand(2, 16, 5, 7))
        assert [tuple(m.shape) for m in found] == [SHAPES[kind](block) for kind in block.maps], init
        gates = [(one, top) for one, top in zip(found, block.tops, strict=True) if top is not None]
        for one, top in gates:
            assert one.min() > 0, init
            assert one.max() < top or (name in HARD and one.max() == top), init
        if gates:
            used = max(float(one.detach().max()) / top for one, top in gates)
            assert used > 0.5, f"{init}: the declared range is not used"
        for one, kind, top in zip(found, block.maps, block.tops, strict=True):
            if kind not in WEIGHTS:
                assert (top is None) == (kind == "factors") or kwargs, "by default a gate has a range"
                continue
            assert top is None, init
            if "dot_product" not in kwargs.values():  # similarities of either sign
                assert (one >= 0).all(), init
                total = one.sum({"branches": 1, "pairs": 2}.get(kind, (1, 2, 3)))
                close(total, torch.ones_like(total), init)


def in_groups(block, x, gates):
    return x * gates.repeat_interleave(x.shape[1] // gates.shape[1], 1)


def scse(block, x, c, s):
    if block.combine == "mul":
        return x * c * s
    return x * c + x * s if block.combine == "add" else torch.maximum(x * c, x * s)


def lsk(block, x, gates):
    small = block.small(x)
    large = block.large(small)
    return x * block.proj(block.reduce_small(small) * gates[:, :1] + block.reduce_large(large) * gates[:, 1:])


def sa(block, x, channel, spatial):
    halves = [g.unflatten(1, (block.groups, -1)) for g in (channel.expand_as(spatial), spatial)]
    y = x * torch.cat(halves, 2).flatten(1, 2)
    return y.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2) if block.shuffle else y


EXPECTED = {  # what a block gives, from block, input and maps, where that is not the input times all maps
    "SGE": in_groups,
    "EMA": in_groups,
    "scSE": scse,
    "SA": sa,
    "Triplet": lambda block, x, *maps: x * sum(maps) / 3,
    "BAM": lambda block, x, gates: x * (1 + gates),
    "MLCA": lambda block, x, cells: x * nn.functional.adaptive_avg_pool2d(cells, x.shape[2:]),
    "LSK": lsk,
    "CAA": lambda block, x, gates: x * gates if block.multiply else gates,
}
OF_OTHERS = {"CPCA": {}, "scSE": {"combine": "concat"}}  # blocks that multiply something else than their input
GATES = [v for v in VARIANTS if not WEIGHTS & set(ATTENTION_BLOCKS[v[0]].maps) and OF_OTHERS.get(v[0]) != v[1]]


@pytest.mark.parametrize(("name", "kwargs"), GATES, ids=[IDS[VARIANTS.index(v)] for v in GATES])
def test_forward_multiplies_by_the_attention_maps(name, kwargs):
    for init in INITS:
        block = make(name, kwargs, init=init).eval()
        x = rand(2, 16, 5, 7)
        found = maps(block, x)
        expected = EXPECTED[name](block, x, *found) if name in EXPECTED else x * math.prod(found)
        if block.blends and init == "identity":
            expected = x + block.gamma * (expected - x)
        close(block(x), expected, init)


@pytest.mark.parametrize("kwargs", [{}, {"mode": "dot_product"}], ids=str)
def test_nl_forward_uses_the_weights_it_shows(kwargs):
    block = make("NL", kwargs).eval()
    x = rand(2, 16, 5, 7)
    y = torch.einsum("nij,ncj->nci", block.attention(x), block.g(x).flatten(2)).unflatten(2, (5, 7))
    torch.testing.assert_close(block(x), x + block.out(y))


@pytest.mark.parametrize("size", [(5, 7), (14, 7), (1, 1), (9, 20)], ids=str)
@pytest.mark.parametrize("kwargs", [{}, {"regions": 2, "topk": 3}], ids=str)
def test_bra_forward_uses_the_weights_it_shows(kwargs, size):
    block, x = make("BRA", {"heads": 1, **kwargs}).eval(), rand(2, 16, *size)
    v = block.qkv(x)[:, 32:]
    y = torch.einsum("nij,ncj->nci", block.attention(x), v.flatten(2)).unflatten(2, size)
    torch.testing.assert_close(block(x), x + block.out(y + block.local(v)))


def test_bra_attends_to_the_positions_of_as_many_regions_as_it_may():
    block, x = make("BRA", {"regions": 3, "topk": 2}).eval(), rand(1, 16, 7, 9)  # regions of 3 x 3, or 1 x 3 below
    seen = (block.attention(x)[0] > 0).sum(1)
    assert set(seen.tolist()) <= {6, 12, 18}
    everywhere = make("BRA", {"regions": 3, "topk": 9}).eval().attention(x)
    assert (everywhere > 0).all()


def test_cpca_forward_uses_the_maps_it_shows():
    block, x = make("CPCA", {}).eval(), rand(2, 16, 5, 7)
    channel, factors = block.attention(x)
    y = nn.functional.gelu(block.mix(x)) * channel * factors
    torch.testing.assert_close(block(x), block.mix(y))


@pytest.mark.parametrize("kwargs", [{}, {"form": "paper"}], ids=str)
def test_sk_forward_uses_the_weights_it_shows(kwargs):
    block, x = make("SK", kwargs).eval(), rand(2, 16, 5, 7)
    y = torch.einsum("nkc,kncij->ncij", block.attention(x), torch.stack([branch(x) for branch in block.branches]))
    torch.testing.assert_close(block(x), y)
