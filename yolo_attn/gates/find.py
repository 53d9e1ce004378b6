"""Where the attention blocks of a model stand, and what range their gates have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from yolo_attn.blocks import ATTENTION_BLOCKS, GC
from yolo_attn.host.gated import Gated, host_class


@dataclass(frozen=True)
class Site:
    """Where a block stands in a model.

    Attributes:
        row: Number of the row it is, or is inside of.
        path: Its name among the model's modules, e.g. ``model.17``.
        block: Its YAML name.
        host: The host block it sits in, with the place, e.g. ``C3k2@inner``; ``None`` for a row of its own.
        section: ``backbone`` or ``neck``.
    """

    row: int
    path: str
    block: str
    host: str | None
    section: str

    @property
    def label(self) -> str:
        """Row and block as a model YAML writes them, e.g. ``row 6: C3k2_CA@inner, m.0.cv2``."""
        if self.host is None:
            return f"row {self.row}: {self.block}"
        host, _, place = self.host.partition("@")
        inside = self.path.split(".", 2)[2].rpartition("attention")[0].rstrip(".")
        return f"row {self.row}: {host}_{self.block}{place and '@'}{place}{inside and ', '}{inside}"


def find_sites(model: nn.Module, blocks: Mapping[str, type[nn.Module]]) -> dict[str, Site]:
    """Return where a model's blocks stand, by their names among its modules; blocks inside blocks are left out.

    Args:
        model: A YOLO model.
        blocks: What counts as a block, by YAML name.
    """
    names = {cls: name for name, cls in blocks.items()}
    modules = dict(model.named_modules())
    backbone = len((getattr(model, "yaml", None) or {}).get("backbone", ()))
    found: dict[str, Site] = {}
    for path, module in modules.items():
        words = path.split(".")
        is_layer = len(words) > 1 and words[0] == "model"
        if not is_layer or type(module) not in names or path.startswith(tuple(f"{outer}." for outer in found)):
            continue
        row = int(words[1])
        section = "backbone" if row < backbone else "neck"
        found[path] = Site(row, path, names[type(module)], _host_of(model, modules, words), section)
    return found


def _host_of(model: nn.Module, modules: Mapping[str, nn.Module], words: list[str]) -> str | None:
    row = model.model[int(words[1])]
    hosts = {"model." + words[1], ".".join(words[:3])} if type(row) is nn.Sequential else {"model." + words[1]}
    if ".".join(words) in hosts:
        return None
    parent = ".".join(words[:-1])
    host = row[int(words[2])] if type(row) is nn.Sequential else row
    place = ("@outer" if parent in hosts else "@inner") if isinstance(modules[parent], Gated) else ""
    return host_class(host).__name__ + place


def declared_tops(block: nn.Module, maps: int) -> tuple[float | None, ...]:
    """Return the upper ends of a shipped block's gates, which begin at 0, one for each map; weights have none."""
    if type(block) not in ATTENTION_BLOCKS.values() or isinstance(block, GC):  # whose map is no gate, but weights
        return (None,) * maps
    scales = [block.scale] if hasattr(block, "scale") else [m.scale for m in block.children() if hasattr(m, "scale")]
    return tuple(scales if len(scales) == maps else (scales or [None])[:1] * maps)
