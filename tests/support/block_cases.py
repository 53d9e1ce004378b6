"""Every block in every form that computes something else, for the tests that loop over them."""

from __future__ import annotations

import pkgutil

import pytest
import torch
from torch import nn

import yolo_attn.blocks
from yolo_attn.blocks import ATTENTION_BLOCKS

WIDTHS = [8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192]
WIDTHS += [240, 256, 320, 360, 384, 480, 512, 576, 640, 768, 1024, 1280]
MODULES = [f"yolo_attn.blocks.{m.name}" for m in pkgutil.iter_modules(yolo_attn.blocks.__path__)]

OPTIONS = {  # arguments beyond the defaults that change what is computed
    "SE": [{"bias": True}],
    "ECA": [{"kernel_size": 5}],
    "GC": [{"pooling": "avg"}, {"fusion": "mul"}, {"fusion": "add+mul"}],
    "NL": [{"mode": "dot_product"}],
    "cSE": [{"bias": True}],
    "sSE": [{"bias": True}],
    "scSE": [{"combine": "max"}, {"combine": "mul"}, {"combine": "concat"}],
    "ELA": [{"variant": "T"}, {"variant": "S"}, {"variant": "L"}],
    "SGE": [{"groups": 4}],
}
VARIANTS = [(name, kwargs) for name in ATTENTION_BLOCKS for kwargs in [{}, *OPTIONS.get(name, [])]]
IDS = ["-".join([name, *(f"{k}={v}" for k, v in kwargs.items())]) for name, kwargs in VARIANTS]


def _computes_in_float16():
    """Whether this torch does so on the CPU, as old ones do not."""
    try:
        torch.conv2d(*(torch.ones(1, 1, 1, 1, dtype=torch.float16) for _ in range(2)))
    except RuntimeError:
        return False
    return True


HALVES = [torch.bfloat16, *([torch.float16] if _computes_in_float16() else [])]
MARKS = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:ELA:UserWarning", "ignore::torch.jit.TracerWarning"),
]
every_variant = pytest.mark.parametrize(("name", "kwargs"), VARIANTS, ids=IDS)
every_init = pytest.mark.parametrize("init", ["paper", "identity"])
every_module = pytest.mark.parametrize("module", MODULES)


def make(name, kwargs, channels=16, init="paper", seed=0, random=True):
    """Build a block; ``random`` gives each parameter a value that is not special: nothing is hidden by zeros."""
    torch.manual_seed(seed)
    block = ATTENTION_BLOCKS[name](channels, **kwargs, init=init)
    if random:
        for parameter in block.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            nn.init.normal_(parameter, std=fan_in**-0.5)
    return block


def rand(*shape, seed=1, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def maps(block, x):
    out = block.attention(x)
    return out if isinstance(out, tuple) else (out,)
