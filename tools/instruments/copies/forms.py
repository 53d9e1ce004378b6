"""Common copies of the blocks, each stated as a module of this project."""
# ruff: noqa: D102 - forward methods are what the docstring of the class says

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from ultralytics.nn.modules import CBAM as HOST_CBAM

from yolo_attn import blocks
from yolo_attn.bench.tutorial import TUTORIALS
from yolo_attn.bench.tutorial.first_ring import TutorialSGE
from yolo_attn.bench.tutorial.grouped import TutorialSA
from yolo_attn.bench.tutorial.pooled import TutorialMLCA


class MixingMLCA(TutorialMLCA):
    """MLCA whose global gates ``(C, N, 1)`` of a whole batch are pooled to one map ``(C, L, L)`` for every image."""

    def forward(self, x: Tensor) -> Tensor:
        (b, c, m, n), size = x.shape, self.local_size
        cells = self.local_arv_pool(x)
        local = self.conv_local(cells.reshape(b, c, -1).transpose(1, 2).reshape(b, 1, -1))
        local = local.reshape(b, size * size, c).transpose(1, 2).reshape(b, c, size, size)
        whole = self.conv(self.global_arv_pool(cells).reshape(b, 1, c))
        whole = whole.reshape(b, c).transpose(0, 1).unsqueeze(2)  # (C, N, 1): images where rows should be
        whole = F.adaptive_avg_pool2d(whole.sigmoid(), (size, size))  # (C, L, L)
        gates = whole * (1 - self.local_weight) + local.sigmoid() * self.local_weight
        return x * F.adaptive_avg_pool2d(gates, (m, n))


class ViewedSGE(TutorialSGE):
    """SGE that folds groups into the batch by ``view``, and whose shift starts at 0."""

    def __init__(self, block: blocks.SGE) -> None:
        super().__init__(block)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.size()
        x.view(b * self.groups, -1, h, w)
        return super().forward(x)


class ViewedSA(TutorialSA):
    """SA that folds groups into the batch by ``view``."""

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        x.view(b * self.groups, -1, h, w)
        return super().forward(x)


class CBAMWithoutNorm(nn.Module):
    """CBAM whose layers have no biases, without a norm behind the spatial convolution, and with the mean first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // 16, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // 16, channels, 1, bias=False),
        )
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.mlp(x.mean((2, 3), keepdim=True)) + self.mlp(x.amax((2, 3), keepdim=True))
        x = x * pooled.sigmoid()
        pooled = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        return x * self.conv(pooled).sigmoid()


def tutorial(cls: type[nn.Module], **hyper: Any) -> Callable[[int], nn.Module]:
    """Return what makes the tutorial form of a block with these hyper-parameters."""
    return lambda channels: TUTORIALS[cls](cls(channels, **hyper))


@dataclass(frozen=True)
class Copy:
    """A common copy.

    Args:
        block: YAML name of the block that it is a copy of.
        what: What it does instead, in a few words.
        make: Makes it, from the number of channels.
        option: Hyper-parameters with which the block computes the same; ``None`` if it never does.
        paper: Hyper-parameters of the authors' form, beside which the copy is measured.
        starts: Whether the copy's first values are others than the block's, of which it has the shapes.
    """

    block: str
    what: str
    make: Callable[[int], nn.Module]
    option: dict[str, Any] | None
    paper: dict[str, Any] = field(default_factory=dict)
    starts: bool = False

    @property
    def name(self) -> str:
        """Block and difference."""
        return f"{self.block}, {self.what}"


DENSE = {"conv_groups": 1, "bias": True}
COPIES = (
    Copy("ELA", "dense, with a bias", tutorial(blocks.ELA, **DENSE), DENSE),
    Copy("MLCA", "mixes images", lambda c: MixingMLCA(blocks.MLCA(c)), None),
    Copy("EMA", "8 groups", tutorial(blocks.EMA, factor=8), {"factor": 8}),
    Copy("GAM", "one sigmoid", tutorial(blocks.GAM, channel_sigmoid=False), {"channel_sigmoid": False}),
    Copy(
        "GAM",
        "one sigmoid, shuffled gate",
        tutorial(blocks.GAM, channel_sigmoid=False, groups=4, shuffle="gate"),
        {"channel_sigmoid": False, "groups": 4, "shuffle": "gate"},
    ),
    Copy("CAA", "the gate alone", tutorial(blocks.CAA, multiply=False), {"multiply": False}),
    Copy("SA", "8 groups, view", lambda c: ViewedSA(blocks.SA(c, groups=8)), {"groups": 8}),
    Copy("SGE", "view, shift 0", lambda c: ViewedSGE(blocks.SGE(c)), {}, starts=True),
    Copy("SK", "dense 1, 3, 5, 7", tutorial(blocks.SK), {}, {"form": "paper"}),
    Copy("LSKA", "kernel 7", tutorial(blocks.LSKA, kernel_size=7), {"kernel_size": 7}),
    Copy("ECA", "kernel 3, bias", tutorial(blocks.ECA, kernel_size=3, bias=True), {"kernel_size": 3, "bias": True}),
    Copy(
        "scSE",
        "reduction 16, biases",
        tutorial(blocks.SCSE, reduction=16, bias=True),
        {"reduction": 16, "bias": True},
    ),
    Copy("CBAM", "no norm", CBAMWithoutNorm, None),
    Copy("CBAM", "Ultralytics'", HOST_CBAM, None),
    Copy("Triplet", "product before mean", tutorial(blocks.Triplet), {}),
)
"""The copies, in the order of the table."""
