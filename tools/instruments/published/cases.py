"""Printed parameter counts: which block, with which hyper-parameters, at which places of which network, by whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from instruments.published import large_kernels as large
from instruments.published import networks as net
from instruments.published.networks import Make
from yolo_attn.blocks import ATTENTION_BLOCKS

SOURCES = {
    "SimAM": ("https://github.com/ZjjConan/SimAM", "README, 2022-10-08"),
    "Triplet": ("https://github.com/landskape-ai/triplet-attention", "README, 2025-02-11"),
    "SA-Net": ("https://github.com/wofmanaf/SA-Net", "README, 2021-05-29"),
    "SA-Net paper": ("https://arxiv.org/abs/2102.00240", "abstract"),
    "EMA": ("https://github.com/YOLOonMe/EMA-attention-module", "README, 2024-12-14"),
    "CoordAttention": ("https://github.com/houqb/CoordAttention", "README, 2021-06-08"),
    "ECANet": ("https://github.com/BangguWu/ECANet", "README, 2021-05-16"),
    "PytorchInsight": ("https://github.com/implus/PytorchInsight", "README, 2020-12-08"),
    "SKNet": ("https://github.com/implus/SKNet", "README, 2019-03-26"),
    "SRMnet": ("https://github.com/EvgenyKashin/SRMnet", "README, 2019-06-02; not the authors'"),
    "pytorchcv": ("https://github.com/osmr/pytorchcv", "README, 2024-09-18; not the authors'"),
    "timm": (
        "https://github.com/huggingface/pytorch-image-models/blob/main/results/results-imagenet.csv",
        "results, 2026-08-08",
    ),
    "MMAction2": (
        "https://github.com/open-mmlab/mmaction2/blob/main/configs/recognition/i3d/metafile.yml",
        "metafile, 2023-10-12",
    ),
    "SegNeXt": ("https://github.com/Visual-Attention-Network/SegNeXt", "README, 2022-11-22"),
    "RIS-PiDiNet": ("https://github.com/yuhua666/RIS-PiDiNet", "README, 2026-04-05; not the authors'"),
}
"""Address of each source, and which text of it has the number, with the date of that text."""


@dataclass(frozen=True)
class Block:
    """A block with its hyper-parameters; a dictionary gives a hyper-parameter for each width."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __call__(self, channels: int, **more: Any) -> nn.Module:
        """Build the block for a number of channels."""
        chosen = {word: value[channels] if isinstance(value, dict) else value for word, value in self.arguments.items()}
        return ATTENTION_BLOCKS[self.name](channels, **chosen, **more)


@dataclass(eq=False)
class Case:
    """One printed parameter count.

    Args:
        block: The block.
        network: The network and the places of the block in it, in words.
        build: Builds the network from a function that builds the block.
        figure: The number as printed; with an ``M`` it is in units of ``unit``.
        source: Key of ``SOURCES``.
        counted: Which parameters the number counts: all, those that the block adds, or all but those of some layers.
        unit: What the source means by ``M``.
        remark: What has to be known to get the number.
        differs: Why the number does not come out; empty if it does.
    """

    block: Block
    network: str
    build: Callable[[Make], nn.Module]
    figure: str
    source: str
    counted: Literal["all", "added", "without normalisation", "without BatchNorm"] = "all"
    unit: int = 10**6
    remark: str = ""
    differs: str = ""

    @cached_property
    def count(self) -> int:
        """Number of parameters with the block of this package."""
        with torch.device("meta"):
            network = self.build(self.block)
            plain = self.build(lambda *args, **kwargs: nn.Identity()) if self.counted == "added" else nn.Identity()
        left_out = {"without normalisation": (nn.BatchNorm2d, nn.GroupNorm), "without BatchNorm": (nn.BatchNorm2d,)}
        layers = [layer for layer in network.modules() if isinstance(layer, left_out.get(self.counted, ()))]
        return parameters(network) - parameters(plain) - sum(map(parameters, layers))

    @property
    def printed(self) -> str:
        """The count, written as the source writes its number."""
        if not self.figure.endswith("M"):
            return f"{self.count:,}"
        decimals = len(self.figure[:-1].partition(".")[2])
        return f"{self.count / self.unit:.{decimals}f}M"

    def __str__(self) -> str:
        """Name the case."""
        return f"{self.block.name}-{self.network.partition(',')[0]}-{self.figure}"


def parameters(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _ends(name: str) -> Callable[[Make], nn.Module]:
    return lambda make: net.at_branch_ends(net.resnet(name), make)


def _cifar_ends(name: str) -> Callable[[Make], nn.Module]:
    return lambda make: net.at_branch_ends(net.cifar_resnet(name), make)


def _between(name: str) -> Callable[[Make], nn.Module]:
    return lambda make: net.between_stages(net.resnet(name), make)


def _mobilenet(place: str) -> Callable[[Make], nn.Module]:
    return lambda make: net.mobilenet(make, place)


def _segnext(depths: tuple[int, ...], channels: int, widths: tuple[int, ...] = large.SMALL) -> Callable:
    return lambda make: large.segnext(make, widths, depths, channels, classes=150)


def _lsknet(widths: tuple[int, ...], depths: tuple[int, ...]) -> Callable[[Make], nn.Module]:
    return lambda make: large.oriented_rcnn(large.lsknet(make, widths, depths), widths)


def _pkinet(make: Make) -> nn.Module:
    widths = (64, 128, 256, 512)
    return large.oriented_rcnn(large.pkinet(make, widths, (4, 12, 20, 4)), widths)


_ENDS = "at the end of every residual branch"
_KERNELS = Block("ECA", {"kernel_size": {256: 3, 512: 5, 1024: 5, 2048: 7}})
_NO_NORMS = (
    "inferred: the rows of EMA and CA in that table come out without the normalisation layers only, others with them"
)
_DETECTOR = "in every block of the backbone of Oriented R-CNN"

CASES = [
    Case(Block("SE", {"bias": True}), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "28.09M", "timm"),
    Case(Block("SE", {"bias": True}), f"ResNet-101, {_ENDS}", _ends("ResNet-101"), "49.33M", "PytorchInsight"),
    Case(Block("SE", {"bias": True}), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "28,088,024", "pytorchcv"),
    Case(Block("SE"), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "28,071,976", "SRMnet"),
    Case(_KERNELS, f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "24.37M", "ECANet", unit=2**20, remark="M is 2^20"),
    Case(_KERNELS, f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "80", "ECANet", "added"),
    Case(
        Block("GC", {"reduction": 8}),
        "ResNet-50 with a deep stem, behind the 3x3 convolution of every bottleneck",
        lambda make: net.in_branch_middles(net.with_deep_stem(net.resnet("ResNet-50")), make),
        "25.90M",
        "timm",
        remark="timm's `gcresnet50t`",
    ),
    Case(
        Block("NL", {"mode": "dot_product"}),
        "I3D with ResNet-50, in every second unit of stages 2 and 3",
        net.i3d,
        "35.4M",
        "MMAction2",
        remark="the convolutions of the block are 1x1x1 there",
    ),
    Case(Block("CA"), "MobileNetV2, on the expanded channels", _mobilenet("expanded"), "3.95M", "CoordAttention"),
    Case(
        Block("CA"),
        f"ResNet-50 for CIFAR-100, {_ENDS}",
        _cifar_ends("ResNet-50"),
        "25.57M",
        "EMA",
        "without normalisation",
        remark=_NO_NORMS,
    ),
    Case(Block("CBAM"), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "28.09M", "PytorchInsight"),
    Case(Block("CBAM"), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "28,089,624", "pytorchcv"),
    Case(Block("CBAM"), f"ResNet-101, {_ENDS}", _ends("ResNet-101"), "49.33M", "PytorchInsight"),
    Case(Block("SGE", {"groups": 64}), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "25.56M", "PytorchInsight"),
    Case(Block("SimAM"), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "25.56M", "SimAM"),
    Case(Block("SimAM"), f"ResNeXt-50, {_ENDS}", _ends("ResNeXt-50"), "25.03M", "SimAM"),
    Case(
        Block("GAM", {"reduction": 16}),
        f"ResNet-50 for CIFAR-100, {_ENDS}",
        _cifar_ends("ResNet-50"),
        "149.5M",
        "EMA",
        remark="inferred: with r = 16, BAM's; with 4, as in copies and by default here, it is 526.8M",
    ),
    Case(
        Block("EMA"),
        f"ResNet-50 for CIFAR-100, {_ENDS}",
        _cifar_ends("ResNet-50"),
        "23.85M",
        "EMA",
        "without normalisation",
        remark=_NO_NORMS,
    ),
    Case(
        Block("EMA"),
        f"ResNet-101 for CIFAR-100, {_ENDS}",
        _cifar_ends("ResNet-101"),
        "42.96M",
        "EMA",
        "without normalisation",
        remark=_NO_NORMS,
    ),
    Case(Block("Triplet"), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "25.56M", "Triplet"),
    Case(Block("Triplet", {"kernel_size": 3}), f"MobileNetV2, {_ENDS}", _mobilenet("end"), "3.506M", "Triplet"),
    Case(Block("Triplet"), f"MobileNetV2, {_ENDS}", _mobilenet("end"), "3.51M", "Triplet"),
    Case(Block("SA"), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "25.56M", "SA-Net"),
    Case(
        Block("SA"),
        f"ResNet-50, {_ENDS}",
        _ends("ResNet-50"),
        "300",
        "SA-Net paper",
        "added",
        differs="the module of the release adds 708 too; behind the 3x3 convolutions it would be 177",
    ),
    Case(Block("SRM"), f"ResNet-50, {_ENDS}", _ends("ResNet-50"), "25,617,448", "SRMnet"),
    Case(
        Block("ESE"),
        "VoVNetV2-39, in the last block of every stage",
        lambda make: net.vovnet(make, (1, 1, 2, 2)),
        "24.57M",
        "timm",
    ),
    Case(
        Block("ESE"),
        "VoVNetV2-57, in the last block of every stage",
        lambda make: net.vovnet(make, (1, 1, 4, 3)),
        "38.61M",
        "timm",
    ),
    Case(
        Block("BAM"),
        "ResNet-50, behind each of the first three stages",
        _between("ResNet-50"),
        "25.92M",
        "PytorchInsight",
    ),
    Case(
        Block("BAM"),
        "ResNet-50, behind each of the first three stages",
        _between("ResNet-50"),
        "25,915,099",
        "pytorchcv",
    ),
    Case(
        Block("BAM"),
        "ResNet-101, behind each of the first three stages",
        _between("ResNet-101"),
        "44.91M",
        "PytorchInsight",
    ),
    Case(Block("LSK"), f"LSKNet-T, {_DETECTOR}", _lsknet(large.TINY, (3, 3, 5, 2)), "21.0M", "RIS-PiDiNet"),
    Case(Block("LSK"), f"LSKNet-S, {_DETECTOR}", _lsknet(large.SMALL, (2, 2, 4, 2)), "31.0M", "RIS-PiDiNet"),
    Case(
        Block("CAA"),
        f"PKINet-S, {_DETECTOR}",
        _pkinet,
        "30.8M",
        "RIS-PiDiNet",
        "without BatchNorm",
        remark="inferred: without the BatchNorms only, 30.87M with them; kernels of 11, 13, ... in each stage; "
        "PKINet's code, whose CAA has biases and no BatchNorm, has 30.81M and 30.86M",
    ),
    Case(Block("MSCA"), "SegNeXt-T, in every block", _segnext((3, 3, 5, 2), 256, large.TINY), "4M", "SegNeXt"),
    Case(Block("MSCA"), "SegNeXt-S, in every block", _segnext((2, 2, 4, 2), 256), "14M", "SegNeXt"),
    Case(Block("MSCA"), "SegNeXt-B, in every block", _segnext((3, 3, 12, 3), 512), "28M", "SegNeXt"),
    Case(Block("MSCA"), "SegNeXt-L, in every block", _segnext((3, 5, 27, 3), 1024), "49M", "SegNeXt"),
    Case(
        Block("SK", {"form": "paper"}),
        "ResNeXt-50, in the place of every 3x3 convolution",
        lambda make: net.for_convolutions(net.resnet("ResNeXt-50"), make),
        "27.5M",
        "SKNet",
        remark="SKNet-50",
    ),
    Case(
        Block("SK", {"form": "paper"}),
        "ResNeXt-101, in the place of every 3x3 convolution",
        lambda make: net.for_convolutions(net.resnet("ResNeXt-101"), make),
        "48.9M",
        "SKNet",
        differs="its plain ResNeXt-101 is printed as 44.3M and has 44.2M; the 4.6M that the blocks add are the same",
    ),
]
