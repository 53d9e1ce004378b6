"""Align the layers of two models, so that weights move between corresponding layers.

Layers correspond by class, by role (section and pyramid level) and by signature (names and shapes of their tensors),
whatever their numbers; or by their number without attention, where that gives more values. Attention layers correspond
by block and by place: the layer they gate, its readers, and how many layers of their kind come before them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.gated import blocks_inside, host_class
from yolo_attn.host.registry import is_attention
from yolo_attn.models.built import model_layers, model_yaml, repeats
from yolo_attn.models.graph import Graph

State = dict[str, torch.Tensor]
_ROW_OF_KEY = re.compile(r"^(?:[A-Za-z_]\w*\.)*?(\d+)\.(.+)$")  # model.4.cv1.conv.weight -> 4, cv1.conv.weight


@dataclass(frozen=True)
class Layer:
    """One layer of a built model, or of a state dict.

    Attributes:
        state: Tensors of the layer itself, by name within the layer.
        inside: Tensors of attention blocks inside it, by name within the layer.
        blocks: Class of each block inside it, by path within the layer.
        kind: Name of its class, with the number of repeats; ``None`` for a state dict.
        classes: Names of its class and base classes.
        attention: Whether it is a registered block.
        sources: Numbers of the layers it reads.
    """

    state: State
    inside: State
    blocks: Mapping[str, str]
    kind: str | None = None
    classes: tuple[str, ...] = ()
    attention: bool = False
    sources: tuple[int, ...] = ()

    @cached_property
    def signature(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the layer's own tensors, by name."""
        return {name: tuple(t.shape) for name, t in self.state.items()}

    def count_shared(self, other: Layer) -> int:
        """Return the number of values in tensors that have the same name and shape in both."""
        return sum(t.numel() for name, t in self.state.items() if other.signature.get(name) == self.signature[name])


@dataclass(frozen=True)
class Layers:
    """The layers of a built model, or of a state dict.

    Attributes:
        rows: The layers by number; empty ones for numbers that a state dict lacks.
        model: The model; ``None`` for a state dict.
    """

    rows: tuple[Layer, ...]
    model: nn.Module | None = None

    @cached_property
    def roles(self) -> list[tuple[str, str | None]] | None:
        """Section and level of each layer; ``None`` if they are unknown."""
        if self.model is None or (given := model_yaml(self.model)) is None:
            return None
        try:
            graph = Graph(given)
            return [(graph.section(i), graph.level(i)) for i in range(len(self.rows))]
        except YoloAttnError:  # a module class that this Ultralytics lacks
            return None

    @property
    def hold_attention(self) -> bool:
        """Whether a layer is attention or holds a block."""
        return any(row.attention or row.blocks for row in self.rows)

    def base(self) -> list[int]:
        """Return the numbers of the layers other than attention layers."""
        return [i for i, row in enumerate(self.rows) if not row.attention]

    def place(self, index: int) -> tuple[int, int, frozenset[int]]:
        """Return the place of an attention layer: the base layer it gates, like layers before it, and its readers."""
        row, readers = self.rows[index], frozenset(self._readers(index))
        origin, before = row.sources[0], 0
        while origin >= 0 and self.rows[origin].attention:
            alike = self.rows[origin].kind == row.kind and frozenset(self._readers(origin)) == readers
            origin, before = self.rows[origin].sources[0], before + alike
        return origin, before, readers

    def _readers(self, index: int) -> Iterable[int]:
        for i, row in enumerate(self.rows):
            if index in row.sources:
                yield from self._readers(i) if row.attention else [i]


def layers_of(model: nn.Module) -> Layers:
    """Return the layers of a built model."""
    return Layers(tuple(_layer(i, row) for i, row in enumerate(model_layers(model))), model)


def layers_of_state(state: Mapping[str, Any]) -> Layers:
    """Return the layers of a state dict, of which only the tensors are known.

    Raises:
        YoloAttnError: If its keys are not those of a YOLO model.
    """
    rows: dict[int, Layer] = {}
    for key, tensor in state.items():
        if (found := _ROW_OF_KEY.match(key)) and isinstance(tensor, torch.Tensor):
            row = rows.setdefault(int(found[1]), Layer({}, {}, {}))
            (row.inside if "attention" in found[2].split(".") else row.state)[found[2]] = tensor
    if not rows:
        raise YoloAttnError("holds no YOLO model built of rows: keys such as 'model.0.conv.weight' are expected")
    return Layers(tuple(rows.get(i, Layer({}, {}, {})) for i in range(max(rows) + 1)))


def align(source: Layers, target: Layers) -> list[int | None]:
    """Return for each layer of the target the corresponding layer of the source.

    Layers correspond by number, as in Ultralytics, or by role, whichever gives the target more values. Attention layers
    have no number here, so that a model with attention gets exactly what its base model gets.

    Returns:
        For each layer of the target the number of a layer of the source, or ``None``.
    """
    ways = [match_by_role(source, target)]
    if source.model is not None:
        ways.insert(0, match_by_number(source, target))
    match = max(ways, key=lambda way: sum(target.rows[t].count_shared(source.rows[s]) for t, s in way.items()))
    match.update(_match_attention(source, target, match))
    return [match.get(i) for i in range(len(target.rows))]


def match_by_number(source: Layers, target: Layers) -> dict[int, int]:
    """Match layers by their number, attention aside, if they are of the same kind or share values."""
    pairs = [(t, s, target.rows[t], source.rows[s]) for t, s in zip(target.base(), source.base(), strict=False)]
    return {t: s for t, s, mine, theirs in pairs if mine.kind == theirs.kind or mine.count_shared(theirs)}


def match_by_role(source: Layers, target: Layers) -> dict[int, int]:
    """Match layers of the same kind and role in order, so that most values have a counterpart, and heads with heads.

    If both models have the same kinds of layers in the same order, attention aside, they match one to one.
    """
    mine, theirs = target.base(), source.base()
    kinds = [[layers.rows[i].kind for i in rows] for layers, rows in ((target, mine), (source, theirs))]
    if kinds[0] == kinds[1]:
        return dict(zip(mine, theirs, strict=True))
    match = _longest(source, target, theirs[:-1], mine[:-1])
    if theirs[0] not in match.values() and kinds[0][0] == kinds[1][0]:
        match.setdefault(mine[0], theirs[0])  # Ultralytics fits the first convolution to other channels
    if _are_compatible(source.rows[theirs[-1]], target.rows[mine[-1]]):
        match[mine[-1]] = theirs[-1]
    return match


def _longest(source: Layers, target: Layers, theirs: Sequence[int], mine: Sequence[int]) -> dict[int, int]:
    """Match layers in order, so that as many values as possible correspond: a weighted longest common subsequence."""
    best = [[(0, 0)] * (len(theirs) + 1) for _ in range(len(mine) + 1)]  # values, rows without tensors
    weight = {(t, s): _weight(source, target, s, t) for t in mine for s in theirs}
    for a in range(len(mine) - 1, -1, -1):
        for b in range(len(theirs) - 1, -1, -1):
            values, rows = weight[mine[a], theirs[b]]
            both = (best[a + 1][b + 1][0] + values, best[a + 1][b + 1][1] + rows)
            best[a][b] = max(both, best[a + 1][b], best[a][b + 1])
    match, a, b = {}, 0, 0
    while a < len(mine) and b < len(theirs):
        if best[a][b] == best[a + 1][b]:
            a += 1
        elif best[a][b] == best[a][b + 1]:
            b += 1
        else:
            match[mine[a]] = theirs[b]
            a, b = a + 1, b + 1
    return match


def _weight(source: Layers, target: Layers, s: int, t: int) -> tuple[int, int]:
    given, taken = source.rows[s], target.rows[t]
    known = given.kind is not None and taken.kind is not None
    if known and given.kind != taken.kind:
        return 0, 0
    if source.roles and target.roles and source.roles[s] != target.roles[t]:
        return 0, 0
    return taken.count_shared(given), int(known and not taken.state)


def _are_compatible(source: Layer, target: Layer) -> bool:
    related = source.kind is None or source.kind in target.classes or target.kind in source.classes
    return related and target.count_shared(source) > 0


def _match_attention(source: Layers, target: Layers, match: Mapping[int, int]) -> dict[int, int]:
    wanted = [i for i, row in enumerate(target.rows) if row.attention]
    if source.model is None:
        return _match_attention_by_order(source, target, match, wanted)
    back = {s: t for t, s in match.items()} | {-1: -1}
    by_place = {}
    for s, row in enumerate(source.rows):
        if row.attention:
            origin, before, readers = source.place(s)
            by_place[back.get(origin), before, frozenset(back.get(r) for r in readers), row.kind] = s
    found = {t: by_place.get((*target.place(t), target.rows[t].kind)) for t in wanted}
    return {t: s for t, s in found.items() if s is not None}


def _match_attention_by_order(
    source: Layers, target: Layers, match: Mapping[int, int], wanted: Iterable[int]
) -> dict[int, int]:
    """Match attention layers with layers of a state dict that follow the same layer and have the same tensors."""
    found: dict[int, int] = {}
    for t in wanted:
        before = {**match, **found, -1: -1}.get(t - 1)
        if before is None or before + 1 >= len(source.rows):
            continue
        if source.rows[before + 1].signature == target.rows[t].signature:
            found[t] = before + 1
    return found


def _layer(index: int, row: nn.Module) -> Layer:
    inner = blocks_inside(row)
    state = row.state_dict()
    inside = {k: v for k, v in state.items() if any(k.startswith(f"{path}.") for path in inner)}
    source = getattr(row, "f", -1)
    given = source if isinstance(source, (list, tuple)) else [source]
    units = repeats(row)
    host = host_class(units[0])
    return Layer(
        state={k: v for k, v in state.items() if k not in inside},
        inside=inside,
        blocks={path: type(block).__name__ for path, block in inner.items()},
        kind=host.__name__ if units[0] is row else f"{len(units)}x{host.__name__}",
        classes=tuple(c.__name__ for c in host.__mro__),
        attention=is_attention(row),
        sources=tuple(f if f >= 0 else index + f for f in given),
    )
