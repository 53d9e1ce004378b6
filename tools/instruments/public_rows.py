"""Rows as public model YAMLs write them, with what their authors meant, and a check of what they mean here.

The patterns are those found in public YAMLs in November 2026, rewritten, and some that the constructors of public
classes take (``None`` for unused arguments, two orders of BiFormer's, quoted numbers); nothing is
copied. The classes that they were
written for are given as ``(channels, ...)`` where the order matters.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ultralytics.nn import tasks

import yolo_attn as ya

SCALES = {"n": [0.5, 0.25, 1024], "s": [0.5, 0.5, 1024], "m": [0.67, 0.75, 768], "l": [1.0, 1.0, 512]}
REFUSED = "refused"


@dataclass(frozen=True)
class Case:
    """A row and its meaning.

    Attributes:
        name: The row's module.
        args: Its arguments.
        written: Channels of the row that it reads, as the YAML writes them before they are scaled.
        block: The block that is meant; ``refused`` where the row can mean nothing.
        hyper: Its hyper-parameters.
        error: Words of the error.
        repeats: How often the block follows itself.
    """

    name: str
    args: list[Any]
    written: int
    block: str
    hyper: dict[str, Any]
    error: str = ""
    repeats: int = 1


def meant(name: str, args: list[Any], written: int, block: str, *, repeats: int = 1, **hyper: Any) -> Case:
    """Return a row that has a meaning."""
    return Case(name, args, written, block, hyper, repeats=repeats)


def refused(name: str, args: list[Any], written: int, error: str) -> Case:
    """Return a row that can mean nothing."""
    return Case(name, args, written, REFUSED, {}, error)


CASES = [
    # the number of channels, once or twice, alone or before hyper-parameters
    meant("SE", [1024], 1024, "SE"),
    meant("SEAttention", [1024], 1024, "SE"),
    meant("SEAttention", [1024, 16], 1024, "SE", reduction=16),
    meant("SELayer", [512, 8], 512, "SE", reduction=8),
    meant("SE", [256, 256, 16], 256, "SE", reduction=16),
    meant("SEBlock", [], 512, "SE"),
    meant("SE", [512, 0.25], 512, "SE", reduction=4),  # (channels, ratio)
    meant("SE", [16], 512, "SE", reduction=16),
    meant("CoordAtt", [1024, 1024], 1024, "CA"),  # (input, output, reduction)
    meant("CoordAtt", [512, 512, 32], 512, "CA", reduction=32),
    meant("CoordAtt", [256, 32], 256, "CA", reduction=32),
    meant("CoordAtt", [1024, 16], 1024, "CA", reduction=16),
    meant("CoordAttention", [], 1024, "CA"),
    meant("CA", [512], 512, "CA"),
    meant("ECA", [1024], 1024, "ECA"),
    meant("ECAAttention", [1024], 1024, "ECA"),
    meant("ECA", [3], 512, "ECA", kernel_size=3),
    meant("ECA", [1024, 5], 1024, "ECA", kernel_size=5),
    meant("ECAAttention", [256, 3], 256, "ECA", kernel_size=3),
    meant("eca_layer", [512, 3], 512, "ECA", kernel_size=3),
    # CBAM: (channels, kernel) and (channels, reduction, kernel)
    meant("CBAM", [7], 512, "CBAM", kernel_size=7),
    meant("CBAM", [3], 512, "CBAM", kernel_size=3),
    meant("CBAM", [1024, 7], 1024, "CBAM", kernel_size=7),
    meant("CBAM", [1024, 3], 1024, "CBAM", kernel_size=3),
    meant("CBAM", [1024, 1024], 1024, "CBAM"),
    meant("CBAM", [1024, 16, 7], 1024, "CBAM", reduction=16, kernel_size=7),
    meant("CBAM", [16, 7], 512, "CBAM", reduction=16, kernel_size=7),
    meant("CBAM", [1024, 16], 1024, "CBAM", reduction=16),
    meant("CBAM", [16], 512, "CBAM", reduction=16),
    meant("CBAM", [1024], 1024, "CBAM"),
    meant("CBAMBlock", [512, 16, 7], 512, "CBAM", reduction=16, kernel_size=7),
    # GC: (channels, ratio)
    meant("GlobalContextBlock", [512, 0.25], 512, "GC", reduction=4),
    meant("GlobalContextBlock", [1024], 1024, "GC"),
    meant("GlobalContextBlock", [1024, 0.0625], 1024, "GC", reduction=16),
    meant("ContextBlock", [256, 0.125], 256, "GC", reduction=8),
    meant("GC", [512, 16], 512, "GC", reduction=16),
    # groups
    meant("SpatialGroupEnhance", [1024], 1024, "SGE"),
    meant("SpatialGroupEnhance", [8], 1024, "SGE", groups=8),
    meant("SpatialGroupEnhance", [512, 8], 512, "SGE", groups=8),
    meant("SGE", [32], 512, "SGE", groups=32),
    meant("ShuffleAttention", [1024, 8], 1024, "SA", groups=8),
    meant("ShuffleAttention", [1024, 16, 8], 1024, "SA", groups=8),  # (channels, reduction, groups), one unused
    meant("ShuffleAttention", [1024], 1024, "SA"),
    meant("ShuffleAttention", [512, 512], 512, "SA"),
    meant("sa_layer", [512, 64], 512, "SA", groups=64),
    meant("EMA", [1024], 1024, "EMA"),
    meant("EMA", [1024, 1024], 1024, "EMA"),  # (channels, not used, factor)
    meant("EMA", [1024, 8], 1024, "EMA", factor=8),
    meant("EMA", [1024, 1024, 32], 1024, "EMA", factor=32),
    meant("EMA_attention", [256], 256, "EMA"),
    # kernels
    meant("ELA", [1024], 1024, "ELA"),
    meant("ELA", [512, 7], 512, "ELA", kernel_size=7),
    meant("ELA", [7], 512, "ELA", kernel_size=7),
    meant("ELA", ["L"], 512, "ELA", variant="L"),
    meant("EfficientLocalizationAttention", [256, 5], 256, "ELA", kernel_size=5),
    meant("LSKA", [1024, 7], 1024, "LSKA", kernel_size=7),
    meant("LSKA", [11], 512, "LSKA", kernel_size=11),
    meant("CAA", [1024], 1024, "CAA"),
    meant("CAA", [1024, 11, 11], 1024, "CAA", kernel_size=11),  # (channels, rows, columns)
    meant("TripletAttention", [1024], 1024, "Triplet"),
    meant("TripletAttention", [1024, 16], 1024, "Triplet"),  # (channels, not used)
    meant("TripletAttention", [], 512, "Triplet"),
    # other orders
    meant("MLCA", [1024], 1024, "MLCA"),
    meant("MLCA", [1024, 5], 1024, "MLCA", local_size=5),
    meant("MLCA", [512, 5, 2, 1, 0.5], 512, "MLCA", local_size=5, gamma=2, b=1, local_weight=0.5),
    meant("MLCA", [5, 2, 1, 0.5], 512, "MLCA", local_size=5, gamma=2, b=1, local_weight=0.5),
    meant("SCSA", [1024, 8], 1024, "SCSA", heads=8),  # (channels, heads, window)
    meant("SCSA", [512, 4, 7], 512, "SCSA", heads=4, window=7),
    meant("SKAttention", [1024], 1024, "SK"),
    meant("SKAttention", [1024, [1, 3, 5, 7], 16, 1, 32], 1024, "SK", reduction=16, min_hidden=32),
    meant("SEAM", [1024, 1024, 1, 16], 1024, "SEAM", depth=1, reduction=16),
    meant("SEAM", [512, 1], 512, "SEAM", depth=1),
    meant("GAM_Attention", [1024, 1024], 1024, "GAM"),
    meant("GAM_Attention", [512, 512, 4], 512, "GAM", reduction=4),
    meant("GAM", [256], 256, "GAM"),
    meant("SimAM", [1024], 1024, "SimAM"),
    meant("SimAM", [1e-4], 512, "SimAM", eps=1e-4),
    meant("SimAM", [1024, 1e-4], 1024, "SimAM", eps=1e-4),
    meant("CPCA", [512, 512], 512, "CPCA"),
    meant("CPCA", [512, 512, 4], 512, "CPCA", reduction=4),
    meant("LSKblock", [1024], 1024, "LSK"),
    meant("scSE", [1024, 16], 1024, "scSE", reduction=16),
    meant("ScSEBlock", [512], 512, "scSE"),
    meant("EffectiveSE", [1024], 1024, "ESE"),
    meant("NonLocalBlock", [512], 512, "NL"),
    meant("BAMBlock", [512, 16, 4], 512, "BAM", reduction=16, dilation=4),
    # numbers without channels, strings, and rows with repeats
    meant("CA", [32], 512, "CA", reduction=32),
    meant("CA", [], 1024, "CA"),
    meant("CoordAtt", [128, 128], 128, "CA"),
    meant("CoordAtt", [256, 16], 256, "CA", reduction=16),
    meant("SE", [1024, 2], 1024, "SE", reduction=2),
    meant("SE", [16], 1024, "SE", reduction=16),
    meant("SEAttention", [16], 1024, "SE", reduction=16),
    meant("SEAttention", [256, 256], 256, "SE"),
    meant("SEAttention", [128, 16], 128, "SE", reduction=16),
    meant("SELayer", [1024], 1024, "SE"),
    meant("SEBlock", [16], 512, "SE", reduction=16),
    meant("se_block", [256], 256, "SE"),
    meant("ECA", [768], 768, "ECA"),  # behind a Concat
    meant("ECA", [128, 3], 128, "ECA", kernel_size=3),
    meant("ECA", [5], 1024, "ECA", kernel_size=5),
    meant("ECAAttention", [3], 512, "ECA", kernel_size=3),
    meant("ECAAttention", [512], 512, "ECA"),
    meant("eca_block", [], 256, "ECA"),
    meant("CBAM", [256, 7], 256, "CBAM", kernel_size=7),
    meant("CBAM", [128], 128, "CBAM", repeats=3),
    meant("CBAM", ["1024"], 1024, "CBAM"),
    meant("CBAM", [256, "7"], 256, "CBAM", kernel_size=7),
    meant("cbam_block", [16, 7], 512, "CBAM", reduction=16, kernel_size=7),
    meant("EMA", [8], 512, "EMA", factor=8),
    meant("EMA", [128, 8], 128, "EMA", factor=8),
    meant("EMA", [1024, None, 32], 1024, "EMA", factor=32),  # (channels, not used, factor)
    meant("EMA", [256, None], 256, "EMA"),
    meant("EMA_attention", [8], 512, "EMA", factor=8),
    meant("GAM", [4], 1024, "GAM", reduction=4),
    meant("GAM", [1024, 4], 1024, "GAM", reduction=4),
    meant("GAMAttention", [1024, 1024], 1024, "GAM"),
    meant("GAMAttention", [256, 4], 256, "GAM", reduction=4),
    meant("GAM_Attention", [512, 512, False, 4], 512, "GAM", reduction=4),  # (input, output, grouped, reduction)
    meant("CBAMBlock", [7], 512, "CBAM", kernel_size=7),
    meant("SA", [8], 512, "SA", groups=8),
    meant("ShuffleAttention", [16, 8], 512, "SA", groups=8),
    meant("ShuffleAttention", [1024], 1024, "SA", repeats=3),
    meant("ShuffleAttention", [256, 16, 8], 256, "SA", groups=8),
    meant("SimAM", ["1e-4"], 512, "SimAM", eps=1e-4),
    meant("SimAM", [512, "1e-4"], 512, "SimAM", eps=1e-4),
    meant("SimAM", [4], 512, "SimAM", eps=4),
    meant("SimAM", [1024, 1024], 1024, "SimAM"),
    meant("CPCA", [2], 512, "CPCA", reduction=2, repeats=3),
    meant("CPCA", [1024], 1024, "CPCA"),
    meant("SKAttention", [512, 512], 512, "SK"),
    meant("SKAttention", [512, 512, [1, 3, 5, 7], 16, 1, 32], 512, "SK", reduction=16, min_hidden=32),
    meant("SKAttention", [256, [1, 3, 5, 7]], 256, "SK"),
    meant("SEAM", [256, 1, 16], 256, "SEAM", depth=1, reduction=16),
    meant("SEAM", [1024, 1, 8], 1024, "SEAM", depth=1, reduction=8),
    meant("SEAM", [], 256, "SEAM"),
    meant("LSKblock", [], 1024, "LSK"),
    meant("LSKBlock", [512, 512], 512, "LSK"),
    meant("LSKA", [512, 11], 512, "LSKA", kernel_size=11),
    meant("LSKA", [1024], 1024, "LSKA"),
    meant("NLBlockND", [1024], 1024, "NL"),
    meant("EffectiveSELayer", [1024], 1024, "ESE"),
    meant("EffectiveSELayer", [512, "hardsigmoid"], 512, "ESE"),
    # BiFormer's: (channels, heads, windows), and (channels, windows, heads)
    meant("BiLevelRoutingAttention", [], 512, "BRA"),
    meant("BiLevelRoutingAttention", [512], 512, "BRA"),
    meant("BiLevelRoutingAttention", [8, 7], 512, "BRA", heads=8, regions=7),
    meant("BiLevelRoutingAttention", [512, 8], 512, "BRA", heads=8),
    meant("BiLevelRoutingAttention", [1024, 8, 7], 1024, "BRA", heads=8, regions=7),
    meant("BiLevelRoutingAttention", [7, 8], 512, "BRA", heads=8, regions=7),
    meant("BiLevelRoutingAttention", [512, 7], 512, "BRA", regions=7),
    # what can mean nothing
    refused("SE", [1024], 512, "1024 is not the number of channels"),
    refused("CBAM", [1024, 7], 512, "1024 is not the number of channels"),
    refused("ECA", [1024], 512, "1024 is not the number of channels"),
    refused("SpatialGroupEnhance", [1024], 256, "1024 is not the number of channels"),
    refused("CoordAtt", [1024, 512], 1024, "512 is not the number of channels"),
    refused("SE", [1024, "conv"], 1024, "reduction='conv' is not an integer"),
    refused("SE", [None], 1024, "reduction=None is not an integer"),
    refused("CBAM", [1024, 16, 7, 4, True], 1024, "CBAM takes at most"),
    refused("CAA", [1024, 7, 11], 1024, "CAA has one kernel_size; 7 and 11 were given"),
    refused("SE", [True], 512, "reduction=True is not an integer"),
    refused("SEBlock", [16, "conv"], 512, "bias='conv' is not true or false"),
    refused("GlobalContextBlock", [512, 0.25, 2, 16], 512, "2"),
    refused("SpatialGroupEnhance", [8, 0.5], 512, "SGE takes at most 1"),
    refused("TripletAttention", [2], 512, "reduction_ratio can only be 16 here, not 2"),
    refused("ECAAttention", [256, 2, 1], 256, "a kernel_size has to be odd"),  # (channels, gamma, b)
    refused("GAM_Attention", [256, 256, True, 4], 256, "group can only be False here, not True"),
    refused("CBAM", [None], 512, "reduction=None is not an integer"),
    refused("EMA", [True], 512, "factor=True is not an integer"),
    refused("CoordAtt", ["nc"], 512, "reduction="),
    refused("EffectiveSELayer", [512, "relu"], 512, "can only be hardsigmoid here, not 'relu'"),
]


def check(case: Case, scale: str) -> str:
    """Return ``as meant``, ``refused`` or ``misread``, for a row at a scale.

    A row that was to be refused with other words is ``misread``, and so is one that is refused but has a meaning.
    """
    backbone = [[-1, 1, "Conv", [case.written, 3, 2]], [-1, case.repeats, case.name, list(case.args)]]
    model = {"nc": 3, "scales": SCALES, "scale": scale, "backbone": backbone, "head": []}
    with torch.device("meta"):
        try:
            made = tasks.parse_model(model, ch=3, verbose=False)[0][-1]
        except ya.YoloAttnError as error:
            return "refused" if case.error and case.error in str(error) else "misread"
        if case.block == REFUSED:
            return "misread"
        blocks = list(made) if case.repeats > 1 else [made]
        expected = repr(ya.create_attention(case.block, blocks[0].channels, **case.hyper))
        return "as meant" if {repr(block) for block in blocks} == {expected} else "misread"


def outcomes() -> Iterator[tuple[Case, str, str]]:
    """Yield every case, scale and outcome."""
    for case in CASES:
        for scale in SCALES:
            yield case, scale, check(case, scale)


def main(words: Sequence[str] | None = None) -> int:
    """Print how many rows mean what their authors meant, and those that do not; return 1 if there are any."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args(words)
    found = list(outcomes())
    for case, scale, outcome in found:
        if outcome == "misread":
            print(f"misread at scale {scale}: {case}")
    print(f"{len(CASES)} rows at {len(SCALES)} scales: {dict(Counter(outcome for _, _, outcome in found))}")
    return int(any(outcome == "misread" for _, _, outcome in found))
