"""The attention blocks, by the name a model YAML uses.

A block takes ``channels`` first, then its own hyper-parameters, then ``init``; it keeps shape, dtype, device and memory
format, and ``block.attention(x)`` returns the map or maps it computes.
"""

from __future__ import annotations

from yolo_attn.blocks.bam import BAM
from yolo_attn.blocks.base import AttentionBlock
from yolo_attn.blocks.bra import BRA
from yolo_attn.blocks.ca import CA
from yolo_attn.blocks.caa import CAA
from yolo_attn.blocks.cbam import CBAM
from yolo_attn.blocks.cpca import CPCA
from yolo_attn.blocks.eca import ECA
from yolo_attn.blocks.ela import ELA
from yolo_attn.blocks.ema import EMA
from yolo_attn.blocks.ese import ESE
from yolo_attn.blocks.gam import GAM
from yolo_attn.blocks.gcnet import GC
from yolo_attn.blocks.gct import GCT
from yolo_attn.blocks.lsk import LSK
from yolo_attn.blocks.lska import LSKA
from yolo_attn.blocks.mlca import MLCA
from yolo_attn.blocks.msca import MSCA
from yolo_attn.blocks.non_local import NL, SNL
from yolo_attn.blocks.sa import SA
from yolo_attn.blocks.scsa import SCSA
from yolo_attn.blocks.scse import CSE, SCSE, SSE
from yolo_attn.blocks.se import SE
from yolo_attn.blocks.seam import SEAM
from yolo_attn.blocks.sge import SGE
from yolo_attn.blocks.simam import SimAM
from yolo_attn.blocks.sk import SK
from yolo_attn.blocks.srm import SRM
from yolo_attn.blocks.triplet import Triplet

_SHIPPED = (
    SE,
    ECA,
    GC,
    NL,
    SNL,
    CA,
    CBAM,
    CSE,
    SSE,
    SCSE,
    ELA,
    SGE,
    GCT,
    SimAM,
    GAM,
    EMA,
    Triplet,
    SA,
    MLCA,
    SRM,
    ESE,
    BAM,
    LSKA,
    LSK,
    CAA,
    MSCA,
    CPCA,
    SCSA,
    SEAM,
    SK,
    BRA,
)

ATTENTION_BLOCKS: dict[str, type[AttentionBlock]] = {block.yaml_name: block for block in _SHIPPED}
"""Every shipped block by its YAML name. A new one is a file, its import and its place in the tuple above."""

__all__ = ["ATTENTION_BLOCKS", "AttentionBlock", *(block.__name__ for block in _SHIPPED)]
