"""Find the ready model YAML, or the insertion into a stock model, that is nearest to a model dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from yolo_attn.host.model import means_block, split_name
from yolo_attn.host.model_files import shipped_models
from yolo_attn.host.registry import canonical
from yolo_attn.host.row_names import place_of
from yolo_attn.host.wiring import stock_model
from yolo_attn.models.graph import IMAGE, Graph, Row, rows_of, sources_of

Place = tuple[str, str, int]
"""A block, ``behind`` or ``inside`` (with ``@concat``, ... where it is stated), and a row of the base model."""


def places(model: Mapping[str, Any]) -> frozenset[Place]:
    """Return where a model dict has which blocks, by the rows of the model without its attention rows."""
    rows = rows_of(model)
    found: set[Place] = set()
    for i, row in enumerate(rows):
        if means_block(row[2]):
            found.add((canonical(row[2]), "behind", _base_row(rows, i)))
        elif parts := split_name(row[2]):
            outer, block, stated = parts
            place = place_of(outer, block, stated)
            found.add((block, "inside" + (f" @{place}" if place else ""), _base_row(rows, i)))
    return frozenset(found)


def _base_row(rows: list[Row], index: int) -> int:
    while index != IMAGE and means_block(rows[index][2]):
        (index,) = sources_of(index, rows[index])
    return index - sum(means_block(row[2]) for row in rows[: max(index, 0)])


def nearest(model: Mapping[str, Any]) -> str:
    """Return one clause on the nearest ready model YAML, or on the stock model; empty for a model without attention.

    Args:
        model: A model dict whose classes are all here.
    """
    here, stock = places(model), stock_model(model)
    if not here:
        return ""
    if stock is None:
        return "no stock model is wired like this one, so no ready YAML is near"
    ready = {name: found for name, found in _ready_places() if name.partition("-")[0] == Path(stock).stem}
    near = min(ready, key=lambda name: (len(ready[name] ^ here), name), default="")
    if not near or not _related(ready[near], here):
        return f"{stock} with {_said(here, model)}; no ready YAML is near"
    more, less = here - ready[near], ready[near] - here
    clauses = [f"here also {_said(more, model)}"] * bool(more) + [f"not here: {_said(less, model)}"] * bool(less)
    return f"{near} has {_said(ready[near], model)}; {'; '.join(clauses) or 'here at the same places'}"


def _related(there: frozenset[Place], here: frozenset[Place]) -> bool:
    """Tell whether two models have a block at the same place, or the same block in the same way."""
    kinds = {(block, way.partition(" ")[0]) for block, way, _ in there}
    return bool(there & here) or any((block, way.partition(" ")[0]) in kinds for block, way, _ in here)


@cache
def _ready_places() -> tuple[tuple[str, frozenset[Place]], ...]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple((n, places(loader(f.read_text("utf-8")).get_single_data())) for n, f in shipped_models().items())


def _said(found: Iterable[Place], model: Mapping[str, Any]) -> str:
    """Return places in words: by role where they have one, else by the row of the base model."""
    roles = _roles(model)
    kinds: dict[tuple[str, str], list[int]] = {}
    for block, way, row in sorted(found, key=lambda p: (p[0], p[1], p[2])):
        kinds.setdefault((block, way), []).append(row)
    words = []
    for (block, way), rows in kinds.items():
        named = [roles[r] for r in rows if r in roles and way == "behind"]
        other = [r for r in rows if r not in roles or way != "behind"]
        parts = [f"at {_joined(named)}"] * bool(named)
        way, _, place = way.partition(" ")
        parts += [f"{way} base row{'s' * (len(other) > 1)} {', '.join(map(str, other))} {place}".rstrip()] * bool(other)
        words.append(f"{block} {' and '.join(parts)}")
    return ", ".join(words)


def _joined(named: list[tuple[str, str]]) -> str:
    """Return places of the form ``neck:P3,P4``."""
    by_role: dict[str, list[str]] = {}
    for role, level in named:
        by_role.setdefault(role, []).append(level)
    return ";".join(f"{role}:{','.join(levels)}" for role, levels in by_role.items())


def _roles(model: Mapping[str, Any]) -> dict[int, tuple[str, str]]:
    """Return role and level of each row of the base model that ends a level, e.g. ``("neck", "P3")``."""
    graph, rows = Graph(model), rows_of(model)
    return {_base_row(rows, i): (role, level) for role, ends in graph.roles.items() for level, i in ends.items()}
