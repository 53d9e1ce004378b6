"""Published classifiers with a block at its published places; to be counted, not to be run.

``make(channels)`` builds the block. All functions belong under ``torch.device("meta")``, which allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import nn
from torchvision import models
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

Make = Callable[[int], nn.Module]

RESNETS = {
    "ResNet-18": models.resnet18,
    "ResNet-50": models.resnet50,
    "ResNet-101": models.resnet101,
    "ResNeXt-50": models.resnext50_32x4d,
    "ResNeXt-101": lambda: ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4),
}
STAGES = ("layer1", "layer2", "layer3", "layer4")


def resnet(name: str) -> ResNet:
    """Return a ResNet for ImageNet."""
    return RESNETS[name]()


def cifar_resnet(name: str) -> ResNet:
    """Return a ResNet for the 100 classes of CIFAR-100, whose first convolution is 3x3."""
    network = resnet(name)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.fc = nn.Linear(network.fc.in_features, 100)
    return network


def at_branch_ends(network: ResNet, make: Make) -> ResNet:
    """Put a block behind the last normalisation of every residual branch."""
    for unit in _units(network):
        name = "bn3" if isinstance(unit, Bottleneck) else "bn2"
        norm = getattr(unit, name)
        setattr(unit, name, nn.Sequential(norm, make(norm.num_features)))
    return network


def in_branch_middles(network: ResNet, make: Make) -> ResNet:
    """Put a block behind the 3x3 convolution of every bottleneck."""
    for unit in _units(network):
        unit.bn2 = nn.Sequential(unit.bn2, make(unit.bn2.num_features))
    return network


def between_stages(network: ResNet, make: Make) -> ResNet:
    """Put a block behind each of the first three stages."""
    for stage, channels in zip(STAGES, (256, 512, 1024), strict=False):
        setattr(network, stage, nn.Sequential(getattr(network, stage), make(channels)))
    return network


def for_convolutions(network: ResNet, make: Make) -> ResNet:
    """Put a block in the place of the 3x3 convolution of every bottleneck, with its normalisation."""
    for unit in _units(network):
        unit.conv2, unit.bn2 = make(unit.bn2.num_features), nn.Identity()
    return network


def with_deep_stem(network: ResNet) -> ResNet:
    """Replace the first convolution by timm's three of 3x3 with 24, 32 and 64 channels."""
    network.conv1 = nn.Sequential(conv_norm(3, 24, 3), conv_norm(24, 32, 3), nn.Conv2d(32, 64, 3, bias=False))
    return network


def i3d(make: Make) -> ResNet:
    """Return I3D with ResNet-50 for Kinetics-400 and a block in every second unit of stages 2 and 3."""
    network = resnet("ResNet-50")
    network.conv1 = nn.Conv3d(3, 64, (5, 7, 7), bias=False)
    network.fc = nn.Linear(2048, 400)
    inflated = ((0, 1, 2), (0, 2), (0, 2, 4), (1,))
    for stage, units in zip(STAGES, inflated, strict=True):
        for unit in units:
            conv = getattr(network, stage)[unit].conv1
            getattr(network, stage)[unit].conv1 = nn.Conv3d(conv.in_channels, conv.out_channels, (3, 1, 1), bias=False)
    for stage, units in {"layer2": (1, 3), "layer3": (1, 3, 5)}.items():
        for unit in units:
            units_of_stage = getattr(network, stage)
            units_of_stage[unit] = nn.Sequential(units_of_stage[unit], make(units_of_stage[unit].bn3.num_features))
    return network


def mobilenet(make: Make, place: str) -> models.MobileNetV2:
    """Return MobileNetV2 with a block in its inverted residuals.

    Args:
        make: Builds the block.
        place: ``"end"``, behind the last normalisation, or ``"expanded"``, behind the depthwise convolution of all but
            the first, which does not expand its channels.
    """
    network = models.mobilenet_v2()
    for unit in network.modules():
        if not isinstance(unit, InvertedResidual):
            continue
        if place == "end":
            unit.conv.append(make(unit.out_channels))
        elif len(unit.conv) == 4:
            unit.conv.insert(2, make(unit.conv[2].in_channels))
    return network


def vovnet(make: Make, blocks: Sequence[int]) -> nn.Sequential:
    """Return VoVNetV2 of five convolutions a block, with an attention block in the last block of each stage.

    Args:
        make: Builds the attention block.
        blocks: Blocks of each stage.
    """
    layers = [conv_norm(3, 64, 3), conv_norm(64, 64, 3), conv_norm(64, 128, 3)]
    previous = 128
    for middle, out, number in zip((128, 160, 192, 224), (256, 512, 768, 1024), blocks, strict=True):
        for _ in range(number):
            layers += [conv_norm(channels, middle, 3) for channels in (previous, *[middle] * 4)]
            layers.append(conv_norm(previous + 5 * middle, out, 1))
            previous = out
        layers.append(make(out))
    return nn.Sequential(*layers, nn.Linear(previous, 1000))


def conv_norm(before: int, channels: int, kernel: int) -> nn.Sequential:
    """Return a convolution without bias and a BatchNorm."""
    return nn.Sequential(nn.Conv2d(before, channels, kernel, bias=False), nn.BatchNorm2d(channels))


def _units(network: ResNet) -> Iterator[BasicBlock | Bottleneck]:
    for stage in STAGES:
        yield from getattr(network, stage)
