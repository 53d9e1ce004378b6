"""All blocks with all variants, for tests that loop over them."""

from __future__ import annotations

import pkgutil

import pytest
import torch
from torch import nn

import yolo_attn.blocks
from support.tiers import sampled
from yolo_attn.blocks import ATTENTION_BLOCKS

WIDTHS = [8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192]
WIDTHS += [240, 256, 320, 360, 384, 480, 512, 576, 640, 768, 1024, 1280]
MODULES = [f"yolo_attn.blocks.{m.name}" for m in pkgutil.iter_modules(yolo_attn.blocks.__path__)]

VARIANTS = [(name, kwargs) for name, cls in ATTENTION_BLOCKS.items() for kwargs in [{}, *cls.variants]]
IDS = ["-".join([name, *(f"{k}={v}" for k, v in kwargs.items())]) for name, kwargs in VARIANTS]


def _computes_in_float16():
    """Return whether this torch computes in float16 on the CPU, unlike old ones."""
    try:
        torch.conv2d(*(torch.ones(1, 1, 1, 1, dtype=torch.float16) for _ in range(2)))
    except RuntimeError:
        return False
    return True


ADAPTED = "ignore:.*the largest that fits:UserWarning"
"""Filter of the warning that a hyper-parameter was adapted to the number of channels."""
HALVES = [torch.bfloat16, *([torch.float16] if _computes_in_float16() else [])]
MARKS = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(ADAPTED, "ignore::torch.jit.TracerWarning"),
]
INITS = ["paper", "identity"]
every_variant = pytest.mark.parametrize(("name", "kwargs"), VARIANTS, ids=IDS)
defaults_first = pytest.mark.parametrize(("name", "kwargs"), sampled(VARIANTS, lambda v: not v[1], "slow"), ids=IDS)
"""Every variant; by default those with the default hyper-parameters run, the others in the slow tier."""
FEW = ("SE", "CBAM", "NL", "ELA", "SGE", "SimAM", "EMA", "SA", "MLCA", "SRM", "LSKA")
"""A block for each way of computing: pooled, strips, pairs, groups, norms, statistics, cells, wide convolutions."""
few_first = pytest.mark.parametrize(
    ("name", "kwargs"), sampled(VARIANTS, lambda v: not v[1] and v[0] in FEW, "slow"), ids=IDS
)
"""Every variant; by default one of each way of computing runs, for tests that take long; the others are slow ones."""
every_init = pytest.mark.parametrize("init", INITS)
every_module = pytest.mark.parametrize("module", MODULES)


def close(found, expected, where, **tolerances):
    """Assert that two values are close; the message names the case of the loop."""
    torch.testing.assert_close(found, expected, msg=lambda said: f"{where}: {said}", **tolerances)


def make(name, kwargs, channels=16, init="paper", seed=0, random=True):
    """Build a block; ``random`` gives each parameter a random value, because zeros would hide errors."""
    torch.manual_seed(seed)
    block = ATTENTION_BLOCKS[name](channels, **kwargs, init=init)
    if random:
        for parameter in block.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            nn.init.normal_(parameter, std=fan_in**-0.5)
    return block


def rand(*shape, seed=1, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


IMPORT_PATHS = {
    "SE": "yolo_attn.blocks.se.SE",
    "ECA": "yolo_attn.blocks.eca.ECA",
    "GC": "yolo_attn.blocks.gcnet.GC",
    "NL": "yolo_attn.blocks.non_local.NL",
    "SNL": "yolo_attn.blocks.non_local.SNL",
    "CA": "yolo_attn.blocks.ca.CA",
    "CBAM": "yolo_attn.blocks.cbam.CBAM",
    "cSE": "yolo_attn.blocks.scse.CSE",
    "sSE": "yolo_attn.blocks.scse.SSE",
    "scSE": "yolo_attn.blocks.scse.SCSE",
    "ELA": "yolo_attn.blocks.ela.ELA",
    "SGE": "yolo_attn.blocks.sge.SGE",
    "GCT": "yolo_attn.blocks.gct.GCT",
    "SimAM": "yolo_attn.blocks.simam.SimAM",
    "GAM": "yolo_attn.blocks.gam.GAM",
    "EMA": "yolo_attn.blocks.ema.EMA",
    "Triplet": "yolo_attn.blocks.triplet.Triplet",
    "SA": "yolo_attn.blocks.sa.SA",
    "MLCA": "yolo_attn.blocks.mlca.MLCA",
    "SRM": "yolo_attn.blocks.srm.SRM",
    "ESE": "yolo_attn.blocks.ese.ESE",
    "BAM": "yolo_attn.blocks.bam.BAM",
    "LSKA": "yolo_attn.blocks.lska.LSKA",
    "LSK": "yolo_attn.blocks.lsk.LSK",
    "CAA": "yolo_attn.blocks.caa.CAA",
    "MSCA": "yolo_attn.blocks.msca.MSCA",
    "CPCA": "yolo_attn.blocks.cpca.CPCA",
    "SCSA": "yolo_attn.blocks.scsa.SCSA",
    "SEAM": "yolo_attn.blocks.seam.SEAM",
    "SK": "yolo_attn.blocks.sk.SK",
    "BRA": "yolo_attn.blocks.bra.BRA",
}
"""Class paths stored in users' checkpoints. Lines may be added, never changed."""


def maps(block, x):
    out = block.attention(x)
    return out if isinstance(out, tuple) else (out,)
