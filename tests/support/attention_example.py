"""A model with every block, and user-defined blocks."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

import yolo_attn as ya
from support.random_weights import calibrate_norms, randomize

SITE = "neck:P4"


class Known(nn.Module):
    """A block whose gates are given: dark but for one position, and a channel gate that counts up."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("channel", torch.arange(1, channels + 1) / (channels + 1))

    def attention(self, x):
        spatial = torch.full_like(x[:, :1], 0.25)
        spatial[:, :, 1, 2] = 1
        return self.channel[None, :, None, None].to(x), spatial

    def forward(self, x):
        return x


class Silent(nn.Module):
    """A block without ``attention``."""

    def __init__(self, channels: int):
        super().__init__()

    def forward(self, x):
        return x


class Broken(Silent):
    """A block whose ``attention`` raises an error."""

    def attention(self, x):
        raise RuntimeError("not today")


def save(model: nn.Module, path: Path) -> Path:
    """Save a model as a checkpoint."""
    torch.save({"model": model, "train_args": {}}, path)
    return path


def with_blocks(folder: Path, names: Iterable[str]) -> Path:
    """Return a checkpoint of yolo11n with these blocks behind its P4, all with random weights."""
    made = ya.insert("yolo11n.yaml", [(name, SITE, {"init": "identity"}) for name in names])
    torch.manual_seed(1)
    model = ya.YOLO(made.save(folder / "yolo11n-all.yaml")).model
    for block in (m for m in model.modules() if type(m) in ya.ATTENTION_BLOCKS.values()):
        name = type(block).__name__
        if name in ("LSKA", "LSK", "MSCA"):  # factors near 1, of which several leave the features as large as they are
            randomize(block, 0.01 if name == "LSK" else 0.003, keep=False).proj.bias.data.add_(1)
        else:
            randomize(block, 0.3 if name == "SCSA" else 0.05, keep=False)  # SCSA's last gate multiplies two weights
    return save(calibrate_norms(model, torch.rand(4, 3, 96, 96)), folder / "all.pt")
