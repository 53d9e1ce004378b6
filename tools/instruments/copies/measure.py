"""Measure a copy beside the authors' form: parameters, time, gain, mixing of images, layout, mAP before training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from instruments.block_measurements import gain
from instruments.block_speed import least
from instruments.copies.forms import Copy
from yolo_attn.bench.tutorial import copy_weights
from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.models.insert import insert

CHANNELS = 128
ROW = ("i", "f", "type", "np")
"""Attributes that Ultralytics sets on the module of a row."""


def maps(images: int = 8, size: int = 40, seed: int = 0) -> Tensor:
    """Return maps of normal values, with a normal offset for each channel of each image."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(images, CHANNELS, size, size, generator=generator)
    return values + torch.randn(images, CHANNELS, 1, 1, generator=generator)


def both(copy: Copy) -> list[Callable[[int], nn.Module]]:
    """Return what makes a copy, with the weights of a new block, and what makes that block in the authors' form."""

    def paper(channels: int) -> nn.Module:
        return ATTENTION_BLOCKS[copy.block](channels, **copy.paper)

    return [lambda channels: copy_of(paper(channels), copy, channels), paper]


def copy_of(block: nn.Module, copy: Copy, channels: int) -> nn.Module:
    """Return a new copy, with the weights of a block where they have the same shapes and the copy starts as it does."""
    made = copy.make(channels)
    if [p.numel() for p in made.parameters()] == [p.numel() for p in block.parameters()] and not copy.starts:
        copy_weights(made, block)
    return made


@torch.no_grad()
def mixing(make: Callable[[int], nn.Module]) -> float:
    """Return the relative change of an image's output where the other seven of its batch are replaced."""
    torch.manual_seed(0)
    block, x = make(CHANNELS).eval(), maps()
    y = block(x)[0]
    return float((block(torch.cat((x[:1], maps(seed=1)[1:])))[0] - y).norm() / y.norm())


@torch.no_grad()
def takes_channels_last(make: Callable[[int], nn.Module]) -> bool:
    """Tell whether a block computes with channels last what it computes with contiguous maps."""
    block, x = make(CHANNELS).eval(), maps(2, 20)
    try:
        y = block(x.to(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return torch.allclose(y, block(x), rtol=1e-4, atol=1e-5)


def times(copy: Copy, rounds: int = 40) -> dict[str, float]:
    """Return the copy's time over that of the authors' form, forward and in training, in turns."""
    x = maps(2).requires_grad_()
    upstream = torch.randn_like(x)
    forward, training = {}, {}
    for name, make in zip(("copy", "paper"), both(copy), strict=True):
        module = make(CHANNELS)
        wanted = [x, *module.parameters()]

        def step(module: nn.Module = module, wanted: list[Any] = wanted) -> object:
            return torch.autograd.grad(module(x), wanted, upstream)

        forward[name] = torch.no_grad()(lambda module=module: module(x))
        training[name] = step
    calls = {"forward": forward, "training": training}
    found = {kind: least(both_forms, rounds, 0.01) for kind, both_forms in calls.items()}
    return {kind: spent["copy"] / spent["paper"] for kind, spent in found.items()}


def measure(copy: Copy) -> dict[str, Any]:
    """Return all that is measured on the block alone but times; of pairs, the copy's is first."""
    return {
        "parameters": [sum(p.numel() for p in make(CHANNELS).parameters()) for make in both(copy)],
        "gain": [gain(make) for make in both(copy)],
        "mixing": [mixing(make) for make in both(copy)],
        "channels last": [takes_channels_last(make) for make in both(copy)],
    }


def replace_blocks(model: nn.Module, copy: Copy) -> int:
    """Replace every block of a model by a copy, with its weights where they fit, and return how many there were."""
    cls = ATTENTION_BLOCKS[copy.block]
    found = [(name, module) for name, module in model.named_modules() if type(module) is cls]
    for name, module in found:
        new = copy_of(module, copy, module.channels)  # type: ignore[arg-type]
        for word in ROW:
            if hasattr(module, word):
                setattr(new, word, getattr(module, word))
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, new.train(module.training))
    return len(found)


class Untrained:
    """mAP50-95 of pretrained weights with a block in the neck of their model, before any training."""

    def __init__(self, base: str, weights: str, data: str, **val: Any) -> None:
        self.base, self.weights, self.data, self.val = base, weights, data, {"imgsz": 320, "batch": 16, **val}

    def of_base(self) -> float:
        """Return the mAP of the weights without a block."""
        import ultralytics

        return self._map(ultralytics.YOLO(self.weights))

    def of_block(self, copy: Copy, init: str = "paper", copied: bool = False) -> float | str:
        """Return the mAP with the authors' form of a block, or with the copy in its place; or the error it raises."""
        from yolo_attn.train.yolo import YOLO
        from yolo_attn.weights.transfer import transfer_weights

        with tempfile.TemporaryDirectory() as scratch:
            changed = insert(self.base, copy.block, at="neck:P3,P4,P5", init=init, **copy.paper)
            torch.manual_seed(0)
            yolo = YOLO(str(changed.save(Path(scratch) / self.base)))
        transfer_weights(yolo, self.weights)
        if copied:
            torch.manual_seed(0)
            replace_blocks(yolo.model, copy)
        try:
            return self._map(yolo)
        except RuntimeError as error:
            return str(error).splitlines()[0]

    def _map(self, yolo: Any) -> float:
        with tempfile.TemporaryDirectory() as scratch:
            box = yolo.val(data=self.data, plots=False, verbose=False, project=scratch, **self.val).box
        return float(box.map)
