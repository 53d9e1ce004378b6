"""What an attention block has to beat in a comparison: rows that do nothing, and as many parameters without attention.

A model of which the attention rows are replaced by :class:`IdentityControl` computes what the model without them does:
a difference to the baseline then comes from the tools, not from attention. :class:`PlainControl` spends about as many
parameters as the block it stands for on two plain convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

from torch import Tensor, nn

from yolo_attn import registry
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.schema import bind

KINDS = ("identity", "plain")


class IdentityControl(nn.Module):
    """A row that returns its input.

    Args:
        channels: Channels of input and output.
        init: Taken so that the row reads like a block's; there is nothing to initialise.

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``
    """

    def __init__(self, channels: int, init: Literal["paper", "identity"] = "identity"):
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x


class PlainControl(nn.Module):
    """A residual pair of 1x1 convolutions with about as many parameters as an attention block.

    ``y = x + W2 relu(W1 x)``, with a bias in ``W2`` where that comes nearer. The hidden width is at least 1, so of
    blocks with fewer than ``2 C`` parameters (ECA, sSE, SGE) it has more.

    Args:
        channels: Channels of input and output.
        like: YAML name of the block whose number of parameters is matched.
        hyper: That block's hyper-parameters.
        init: ``"identity"``: ``W2`` starts at 0. ``"paper"``: as torch initialises a convolution.

    Shape:
        ``(N, C, H, W)`` -> ``(N, C, H, W)``

    Raises:
        YoloAttnError: If there is no such block, or it does not take these hyper-parameters.
    """

    def __init__(
        self,
        channels: int,
        like: str = "SE",
        hyper: Mapping[str, Any] | None = None,
        init: Literal["paper", "identity"] = "identity",
    ):
        super().__init__()
        block = registry.create_attention(like, channels, **(hyper or {}))
        per_channel = max(round(sum(p.numel() for p in block.parameters()) / channels), 2)
        hidden, with_bias = divmod(per_channel, 2)
        self.channels, self.like = channels, like
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.expand = nn.Conv2d(hidden, channels, 1, bias=bool(with_bias))
        if init == "identity":
            for parameter in self.expand.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus what the two convolutions make of it."""
        return x + self.expand(self.reduce(x).relu())

    def extra_repr(self) -> str:
        """Show what the submodules do not."""
        return f"{self.channels}, like={self.like}"


def control_of(model: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a model dict in which controls stand in for the attention.

    Args:
        model: A model YAML's content.
        kind: ``"identity"`` or ``"plain"``.

    Raises:
        YoloAttnError: If there is no such control, or the model has no attention to stand in for.
    """
    if kind not in KINDS:
        raise YoloAttnError(one_of("control", kind, KINDS))
    made = deepcopy(dict(model))
    for section in ("backbone", "head"):
        made[section] = [_control_row(row, kind) for row in model[section]]
    if made == model:
        raise YoloAttnError(f"a model without attention rows has no {kind} control")
    return made


def _control_row(row: list[Any], kind: str) -> list[Any]:
    from yolo_attn.registration import split_name

    source, repeats, name, args = row
    args = list(args) if isinstance(args, (list, tuple)) else [args]
    if registry.is_known(name):
        name, cls = registry.resolve(name)
        return [source, repeats, *_replacement(kind, name, bind(cls, args))]
    if (parts := split_name(name)) is None:
        return row
    host, block, place = parts
    hyper = dict(args.pop()) if args and isinstance(args[-1], Mapping) else {}
    place = hyper.pop("place", None) or place
    control, extra = _replacement(kind, block, hyper)
    return [source, repeats, f"{host}_{control}" + (f"@{place}" if place else ""), [*args, *extra]]


def _replacement(kind: str, block: str, hyper: Mapping[str, Any]) -> tuple[str, list[Any]]:
    if kind == "identity":
        return IdentityControl.__name__, []
    hyper = {k: v for k, v in hyper.items() if k != "init"}
    return PlainControl.__name__, [{"like": block, **({"hyper": hyper} if hyper else {})}]
