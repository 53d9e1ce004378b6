"""Published networks of large kernels, with their heads; to be counted, not to be run.

A depthwise 1x1 convolution without bias stands for the learned scale of a residual branch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from instruments.published.networks import Make, conv_norm

TINY, SMALL = (32, 64, 160, 256), (64, 128, 320, 512)
"""Widths of the stages of VAN, LSKNet and SegNeXt."""


def lsknet(make: Make, widths: Sequence[int], depths: Sequence[int]) -> nn.Sequential:
    """Return the backbone of LSKNet, that of VAN but for the attention."""
    return van(make, widths, depths, [nn.Conv2d(3, widths[0], 7), nn.BatchNorm2d(widths[0])])


def segnext(make: Make, widths: Sequence[int], depths: Sequence[int], channels: int, classes: int) -> nn.Sequential:
    """Return SegNeXt: VAN with a stem of two convolutions, and a light Hamburger head on its last three stages."""
    half = widths[0] // 2
    stem = [nn.Conv2d(3, half, 3), nn.BatchNorm2d(half), nn.Conv2d(half, widths[0], 3), nn.BatchNorm2d(widths[0])]
    head = [
        *_conv_group_norm(sum(widths[1:]), channels),
        nn.Conv2d(channels, channels, 1),
        *_conv_group_norm(channels, channels),
        *_conv_group_norm(channels, channels),
        nn.Conv2d(channels, classes, 1),
    ]
    return nn.Sequential(van(make, widths, depths, stem), *head)


def van(make: Make, widths: Sequence[int], depths: Sequence[int], stem: Sequence[nn.Module]) -> nn.Sequential:
    """Return four stages of attention and convolutional MLP, as in VAN."""
    layers = [*stem]
    for stage, (width, depth, ratio) in enumerate(zip(widths, depths, (8, 8, 4, 4), strict=True)):
        if stage:
            layers += [nn.Conv2d(widths[stage - 1], width, 3), nn.BatchNorm2d(width)]
        for _ in range(depth):
            layers += [nn.BatchNorm2d(width), nn.Conv2d(width, width, 1), make(width), nn.Conv2d(width, width, 1)]
            layers += [_scale(width), nn.BatchNorm2d(width), *_mlp(width, ratio, 3), _scale(width)]
        layers.append(nn.LayerNorm(width))
    return nn.Sequential(*layers)


def pkinet(make: Make, widths: Sequence[int], depths: Sequence[int]) -> nn.Sequential:
    """Return the backbone of PKINet.

    Args:
        make: Builds the attention block from channels and kernel size, which grows by 2 from block to block.
        widths: Widths of the stages.
        depths: Their numbers of blocks.
    """
    previous = widths[0] // 2
    layers = [conv_norm(channels, previous, 3) for channels in (3, previous, previous)]
    for width, depth, ratio, kernel in zip(widths, depths, (8, 8, 4, 4), (5, 7, 9, 11), strict=True):
        half = width // 2
        layers += [conv_norm(previous, width, 3), *(conv_norm(width, width, 1) for _ in range(3))]
        layers += [nn.LayerNorm(half), *_mlp(half, ratio, kernel)]
        for i in range(depth):
            layers += [nn.BatchNorm2d(half), *(conv_norm(half, half, 1) for _ in range(3))]
            layers += [nn.Conv2d(half, half, size, groups=half) for size in (3, 5, 7, 9, 11)]
            layers += [make(half, kernel_size=11 + 2 * i), nn.BatchNorm2d(half), nn.LayerNorm(half)]
            layers += [*_mlp(half, 4, 3), _scale(half), _scale(half)]
        previous = width
    return nn.Sequential(*layers)


def oriented_rcnn(backbone: nn.Module, widths: Sequence[int], classes: int = 15) -> nn.Sequential:
    """Return an Oriented R-CNN: backbone, feature pyramid, proposals of three anchors, and two layers for regions."""
    pyramid = [*(nn.Conv2d(width, 256, 1) for width in widths), *(nn.Conv2d(256, 256, 3) for _ in widths)]
    proposals = [nn.Conv2d(256, 256, 3), nn.Conv2d(256, 3, 1), nn.Conv2d(256, 3 * 6, 1)]
    regions = [nn.Linear(256 * 7 * 7, 1024), nn.Linear(1024, 1024), nn.Linear(1024, classes + 1), nn.Linear(1024, 5)]
    return nn.Sequential(backbone, *pyramid, *proposals, *regions)


def _mlp(width: int, ratio: int, kernel: int) -> list[nn.Module]:
    hidden = ratio * width
    return [nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, hidden, kernel, groups=hidden), nn.Conv2d(hidden, width, 1)]


def _scale(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 1, groups=width, bias=False)


def _conv_group_norm(before: int, channels: int) -> list[nn.Module]:
    return [nn.Conv2d(before, channels, 1, bias=False), nn.GroupNorm(32, channels)]
