"""Tutorial implementations of the shipped blocks, as references for timing and tests.

The style is that of tutorials: adaptive pooling, ``view`` and ``expand_as``, permutations, convolutions to one channel,
full ``HW x HW`` matrices. Each class is equivalent to its block, including biases, floors and extra layers, so that the
two differ in time only. ``view`` on a feature map, which channels last does not allow, is ``reshape`` here. Each class
takes its sizes from its block and declares its parameters in the block's order; :func:`from_block` copies them.
"""

from __future__ import annotations

from torch import nn

from yolo_attn.bench.tutorial import convolutional, first_ring, full_maps, grouped, pooled, routed

TUTORIALS: dict[type[nn.Module], type[nn.Module]] = {
    **first_ring.TUTORIALS,
    **convolutional.TUTORIALS,
    **full_maps.TUTORIALS,
    **grouped.TUTORIALS,
    **pooled.TUTORIALS,
    **routed.TUTORIALS,
}
"""The tutorial form of every shipped block of which one form is common."""


def from_block(block: nn.Module) -> nn.Module:
    """Return the tutorial form of a shipped block, with copies of its weights and statistics.

    Args:
        block: A shipped block, of any hyper-parameters, with ``init="paper"``; of ``"identity"`` only where that
            changes nothing but the initial weights (GC's sum, NL, SNL, scSE's sum).

    Raises:
        ValueError: If no tutorial is written here for the class, or the block's gates go to 2.
    """
    if type(block) not in TUTORIALS:
        raise ValueError(f"there is no tutorial form of {type(block).__name__}")
    if any(getattr(module, "scale", 1.0) != 1.0 for module in block.modules()) or block.init != "paper":
        raise ValueError(f"the tutorial form of {type(block).__name__} has gates up to 1: give init='paper'")
    tutorial = TUTORIALS[type(block)](block)
    copy_weights(tutorial, block)
    return tutorial.train(block.training)


def copy_weights(to: nn.Module, block: nn.Module) -> None:
    """Copy parameters and buffers in order of declaration, reshaped to the target's shapes."""
    for kind in ("parameters", "buffers"):
        for theirs, ours in zip(getattr(to, kind)(), getattr(block, kind)(), strict=True):
            theirs.data = ours.detach().clone().reshape(theirs.shape)
