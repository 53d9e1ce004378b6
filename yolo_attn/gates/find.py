"""Find the attention blocks of a built model, and read the kinds and ranges of the maps they declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from yolo_attn.gates.gate import NAMES
from yolo_attn.host.gated import Gated, GatedInput, host_class
from yolo_attn.host.registry import registered
from yolo_attn.models.built import model_layers, model_yaml, repeats


@dataclass(frozen=True)
class Location:
    """Location of an attention block in a built model.

    Attributes:
        row: Number of the layer that is the block, or that holds it.
        path: Name among the model's modules, e.g. ``model.17``.
        block: YAML name of the block.
        host: Host block that holds it, with the position, e.g. ``C3k2@inner``; ``None`` for a layer of its own.
        section: ``backbone`` or ``neck``.
    """

    row: int
    path: str
    block: str
    host: str | None
    section: str

    @property
    def label(self) -> str:
        """Layer and block as a model YAML writes them, e.g. ``row 6: C3k2_CA@inner, m.0.cv2``."""
        if self.host is None:
            return f"row {self.row}: {self.block}"
        host, _, position = self.host.partition("@")
        inside = self.path.split(".", 2)[2].rpartition("attention")[0].rstrip(".")
        return f"row {self.row}: {host}_{self.block}{position and '@'}{position}{inside and ', '}{inside}"


@dataclass(frozen=True)
class Declared:
    """Kinds and ranges of the maps that a block's class declares.

    Attributes:
        kinds: Key of :data:`yolo_attn.gates.gate.NAMES` for each map.
        tops: Upper end of each map's range, which begins at 0; ``None`` for weights.
    """

    kinds: tuple[str, ...]
    tops: tuple[float | None, ...]


def find_locations(model: nn.Module, blocks: Mapping[str, type[nn.Module]]) -> dict[str, Location]:
    """Return the locations of a model's blocks by module name, in the order of the layers.

    Blocks inside other blocks are left out.

    Args:
        model: A built YOLO model.
        blocks: Classes to look for, by YAML name.
    """
    names = {cls: name for name, cls in blocks.items()}
    modules = dict(model.named_modules())
    backbone = len((model_yaml(model) or {}).get("backbone", ()))
    found: dict[str, Location] = {}
    for path, module in modules.items():
        words = path.split(".")
        is_layer = len(words) > 1 and words[0] == "model"
        if not is_layer or type(module) not in names or path.startswith(tuple(f"{outer}." for outer in found)):
            continue
        row = int(words[1])
        section = "backbone" if row < backbone else "neck"
        found[path] = Location(row, path, names[type(module)], _host_of(model, modules, words), section)
    return found


def attention_blocks(model: nn.Module) -> dict[Location, nn.Module]:
    """Return the registered attention blocks of a built YOLO model by location, in the order of the layers."""
    modules = dict(model.named_modules())
    return {location: modules[path] for path, location in find_locations(model, registered()).items()}


def declared_maps(block: nn.Module, maps: int) -> Declared | None:
    """Return the declared kinds and ranges of the maps that ``block.attention(x)`` returns; ``None`` if undeclared.

    Args:
        block: An attention block; shipped ones declare their maps, a user's own need not.
        maps: Number of maps it returned.
    """
    kinds, tops = getattr(type(block), "maps", None), getattr(block, "tops", None)
    if isinstance(kinds, tuple) and tops is not None and len(kinds) == maps and NAMES.keys() >= set(kinds):
        return Declared(kinds, tuple(tops))
    return None


def _host_of(model: nn.Module, modules: Mapping[str, nn.Module], words: list[str]) -> str | None:
    layer = model_layers(model)[int(words[1])]
    repeated = type(layer) is nn.Sequential
    hosts = {"model." + words[1], ".".join(words[:3])} if repeated else {"model." + words[1]}
    if ".".join(words) in hosts:
        return None
    parent = ".".join(words[:-1])
    host = repeats(layer)[int(words[2])] if repeated else layer
    return host_class(host).__name__ + _position(modules[parent], is_host=parent in hosts)


def _position(holder: nn.Module, is_host: bool) -> str:
    if isinstance(holder, GatedInput):
        return "@concat"
    return ("@outer" if is_host else "@inner") if isinstance(holder, Gated) else ""
