"""Global Attention Mechanism (GAM)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from yolo_attn.blocks._checks import check_divides
from yolo_attn.blocks.base import AttentionBlock, Init, Paper, zero_
from yolo_attn.blocks.ops import batch_norm, bottleneck, folded, gate, multiply
from yolo_attn.blocks.ops import shuffle as shuffled


class GAM(AttentionBlock):
    """Rescale each value by a gate from the channels of its position, then by one from its neighbourhood.

    ``x' = x * sigmoid(MLP(x))`` with one MLP ``W1 relu(W0 .)`` over the channels at every position, Eq. 1, and
    ``y = x' * sigmoid(BN(conv7(relu(BN(conv7(x'))))))``, ``C -> C/r -> C`` channels, Eq. 2; all layers have biases.
    With ``groups`` above 1 the convolutions are grouped and channels are shuffled between them. Most copies lack the
    first sigmoid, so that ``x'`` is ``x`` times a factor of either sign: that is ``channel_sigmoid=False``. Many have
    four groups and shuffle the last gate instead, which puts it on other channels than those it was computed for:
    ``groups=4, shuffle="gate"``. Unlike the paper, in training a batch of one 1x1 map, which has no batch statistics,
    is normalised by the running ones.

    ``init="identity"``: ``W1`` with its bias (which is 1 without the first sigmoid) and the weight of the last
    BatchNorm start at 0.

    Args:
        channels: Channels ``C`` of input and output.
        reduction: Bottleneck ratio ``r``; the hidden width is ``channels // reduction``, rounded up to a multiple of
            ``groups``.
        groups: Groups of both convolutions; has to divide ``channels``.
        channel_sigmoid: Whether the MLP ends in a sigmoid.
        shuffle: What is shuffled where there are groups: ``"hidden"`` channels or the last ``"gate"``.
        init: ``"paper"`` or ``"identity"``.

    Example:
        >>> import torch
        >>> GAM(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    paper = Paper(
        "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions",
        "https://arxiv.org/abs/2112.05561",
    )
    aliases = ("GAM_Attention", "GAMAttention", "GAMBlock")
    public: ClassVar = dict.fromkeys(aliases[:2], ("group=False", "reduction"))
    maps = ("full", "full")
    variants = ({"channel_sigmoid": False}, {"groups": 4, "shuffle": "gate"})

    def __init__(
        self,
        channels: int,
        reduction: int = 4,
        groups: int = 1,
        channel_sigmoid: bool = True,
        shuffle: Literal["hidden", "gate"] = "hidden",
        *,
        init: Init = "paper",
    ) -> None:
        super().__init__(channels, init)
        check_divides("groups", groups, channels)
        hidden = max(-(-(channels // reduction) // groups), 1) * groups
        self.groups, self.channel_sigmoid, self.shuffle = groups, channel_sigmoid, shuffle
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.conv1 = nn.Conv2d(channels, hidden, 7, padding=3, groups=groups)
        self.norm1: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, channels, 7, padding=3, groups=groups)
        self.norm2: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels)
        if init == "identity":
            zero_(self.excite)
            nn.init.constant_(self.excite.bias, 0.0 if channel_sigmoid else 1.0)
            nn.init.zeros_(self.norm2.weight)

    @property
    def tops(self) -> tuple[float | None, ...]:
        """Upper ends of the gates' ranges; ``None`` for a factor of either sign."""
        return (self.scale if self.channel_sigmoid else None, self.scale)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel gate of every position, and the spatial gate of the map it gated, ``(N, C, H, W)``."""
        channel = self._channel_gate(x)
        return channel, self._spatial_gate(multiply(x, channel))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times its channel gate, times the spatial gate of that product."""
        x = multiply(x, self._channel_gate(x))
        return multiply(x, self._spatial_gate(x), overwrite=True)

    def _channel_gate(self, x: Tensor) -> Tensor:
        z = bottleneck(x, self.squeeze, self.excite)
        return gate(z, self.scale) if self.channel_sigmoid else z

    def _spatial_gate(self, x: Tensor) -> Tensor:
        z = batch_norm(self.conv1(x), self.norm1).relu()  # (N, hidden, H, W)
        z = shuffled(z, self.groups) if self.shuffle == "hidden" else z
        z = batch_norm(self.conv2(z), self.norm2)
        return gate(shuffled(z, self.groups) if self.shuffle == "gate" else z, self.scale)

    def fuse(self) -> None:
        """Fold both BatchNorms into the convolutions before them, for inference; they have nothing to train then."""
        self.norm1, self.norm2 = folded(self.norm1, self.conv1), folded(self.norm2, self.conv2)
