"""The attention blocks, by the name a model YAML uses.

A block takes ``channels`` first, then its own hyper-parameters, then ``init``; it keeps shape, dtype, device and memory
format, and ``block.attention(x)`` returns the map or maps it computes.
"""

from __future__ import annotations

from torch import nn

from yolo_attn.blocks.ca import CA
from yolo_attn.blocks.cbam import CBAM
from yolo_attn.blocks.eca import ECA
from yolo_attn.blocks.ela import ELA
from yolo_attn.blocks.gcnet import GC
from yolo_attn.blocks.non_local import NL, SNL
from yolo_attn.blocks.scse import CSE, SCSE, SSE
from yolo_attn.blocks.se import SE
from yolo_attn.blocks.sge import SGE

ATTENTION_BLOCKS: dict[str, type[nn.Module]] = {
    "SE": SE,
    "ECA": ECA,
    "GC": GC,
    "NL": NL,
    "SNL": SNL,
    "CA": CA,
    "CBAM": CBAM,
    "cSE": CSE,
    "sSE": SSE,
    "scSE": SCSE,
    "ELA": ELA,
    "SGE": SGE,
}

__all__ = ["ATTENTION_BLOCKS", "CA", "CBAM", "CSE", "ECA", "ELA", "GC", "NL", "SCSE", "SE", "SGE", "SNL", "SSE"]
