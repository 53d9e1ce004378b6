"""Insert attention blocks into a model YAML by role; every other row keeps its sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from yolo_attn.errors import YoloAttnError, one_of, shorten
from yolo_attn.host.hyper import bind
from yolo_attn.host.model import (
    build_shapes,
    check_rows,
    load_model_dict,
    means_block,
    row_name,
    split_name,
)
from yolo_attn.host.registry import resolve
from yolo_attn.host.row_names import POSITIONS
from yolo_attn.models.graph import IMAGE, Graph, Row, rows_of, sources_of
from yolo_attn.models.row_init import GIVEN
from yolo_attn.models.sites import Site, find_rows_inside, find_sites
from yolo_attn.models.yaml_text import check_file_name, flow, to_text
from yolo_attn.util.files import write_whole

DEFAULT_AT = "neck:P3,P4,P5"

Where = str | Iterable[str] | None
Placed = tuple[str, Where] | tuple[str, Where, Mapping[str, Any]]


@dataclass(frozen=True)
class Insertion:
    """A model with inserted attention blocks, and the map from the base model's rows.

    Attributes:
        yaml: The new model dict.
        row_map: Row number in the base model -> row number of the same layer here.
        new_rows: Inserted rows.
        base: Model dict of the base model.
        inside: Rows here that now hold a block inside their host block.
    """

    yaml: dict[str, Any]
    row_map: dict[int, int]
    new_rows: tuple[int, ...]
    base: dict[str, Any] = field(repr=False)
    inside: tuple[int, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write the model YAML, commented with row numbers and roles, and return its path.

        As with stock YAMLs, the scale is part of the name that opens a model: ``yolo11-mine.yaml`` opens as
        ``yolo11s-mine.yaml``. A name without a scale gets the scale of the base.

        Raises:
            YoloAttnError: If the file name states another scale than the base has.
        """
        path = Path(path)
        check_file_name(path, self.base.get("scale"))
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = rows_of(self.yaml)
        names = {rows[i][2] for i in self.new_rows} | {_split(rows[i][2])[1] for i in self.inside}
        return write_whole(path, to_text(self.yaml, title=f"{_base_name(self.base)} with {', '.join(sorted(names))}"))

    def as_dict(self) -> dict[str, Any]:
        """Return inserted rows, changed rows and the row map as JSON values."""
        old, new = rows_of(self.base), rows_of(self.yaml)
        back = {j: i for i, j in self.row_map.items()}
        return {
            "new_rows": [{"row": i, "is": new[i]} for i in self.new_rows],
            "inside": [{"row": i, "is": new[i], "was": old[back[i]]} for i in self.inside],
            "row_map": dict(self.row_map),
        }

    def __str__(self) -> str:
        old, new = rows_of(self.base), rows_of(self.yaml)
        lines = [f"+ {i:>3}  {flow(new[i])}{self._behind(i)}" for i in self.new_rows]
        lines += [f"* {j:>3}  {flow(new[j])}   was {flow(old[i])}" for i, j in self.row_map.items() if j in self.inside]
        moved = {i: j for i, j in self.row_map.items() if j not in self.inside and old[i][0] != new[j][0]}
        lines += [f"~ {j:>3}  {flow(new[j])}   was row {i}, from {old[i][0]}" for i, j in moved.items()]
        return "\n".join(lines)

    def _behind(self, index: int) -> str:
        """Return a remark on a new row that follows an attention row of the base."""
        rows = rows_of(self.yaml)
        (source,) = sources_of(index, rows[index])
        old = source in self.row_map.values() and source != IMAGE and means_block(rows[source][2])
        return f"   behind row {source}, {rows[source][2]}, which the base has already" if old else ""


@dataclass(frozen=True)
class _Block:
    """One kind of block to insert: YAML name, checked hyper-parameters, and sites."""

    name: str
    arguments: list[dict[str, Any]]
    at: str | Iterable[str] | None


def read_model(base: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a model dict, read from a name, a path, a checkpoint or another model dict.

    Raises:
        YoloAttnError: If there is no such model, or it cannot be built.
    """
    if isinstance(base, Mapping):
        model = deepcopy(dict(base))
    elif not isinstance(base, (str, Path)):
        raise YoloAttnError(
            f"{shorten(base)} is no model to insert into; give the path of a YAML or checkpoint, or a dict"
        )
    elif str(base).lower().endswith(".pt"):
        from yolo_attn.host.checkpoints import open_source

        model = deepcopy(dict(cast(Any, open_source(base)).yaml))
    elif Path(base).suffix in (".yaml", ".yml"):
        model = load_model_dict(base)
    else:
        raise YoloAttnError(f"{str(base)!r} is neither a model YAML (.yaml) nor a checkpoint (.pt)")
    check_rows(model)
    return model


def insert(
    base: str | Path | Mapping[str, Any],
    block: str | Sequence[Placed],
    at: str | Iterable[str] | None = None,
    inside: str | None = None,
    **hyper: Any,
) -> Insertion:
    """Insert a block after given rows of a model, or inside its host blocks; every other row keeps its sources.

    Args:
        base: Name or path of a model YAML, a model dict, or a checkpoint (``.pt``).
        block: Name or alias of a registered block. Several at once: a list of ``(name, at)`` or
            ``(name, at, {hyper-parameter: value})``; blocks at the same site follow each other in this order.
        at: Sites by role (``neck:P3,P4,P5``, the default; ``neck:all``, ``backbone:P4``, ``sppf``, ``pre-detect``) or
            by row of the base (``after:4,9``, ``before:9``); several with ``;`` or as a list. All readers of a row read
            a block after it; ``before:9`` gates the inputs of row 9 only, ``pre-detect`` those of the head only.
        inside: Insert the block inside the rows of this host block instead (``C3k2``, ``C3k2@outer``,
            ``SPPF@concat``, ``C2f,SPPF``): all of them, or those that ``at`` names; ``backbone`` and ``neck`` alone
            mean all their rows.
        **hyper: The block's hyper-parameters, e.g. ``variant="L"``, ``init="identity"``.

    Raises:
        YoloAttnError: For an unknown block or hyper-parameter, a site that the model does not have, a block that does
            not fit there, or a row that has a block inside already.

    Examples:
        >>> insert("yolo11n.yaml", "ELA", at="neck:P3,P4,P5", init="identity").new_rows
        (17, 21, 25)
        >>> insert("yolov8n.yaml", "SE", inside="C2f", at="neck").inside
        (12, 15, 18, 21)
    """
    if not isinstance(inside, (str, type(None))):
        raise YoloAttnError(f"inside={shorten(inside)} names no host block, e.g. C3k2 or C3k2@outer")
    model = {k: v for k, v in read_model(base).items() if k != GIVEN}
    graph = Graph(model)
    blocks = _read_blocks(block, at, hyper)
    changed = _insert_inside(graph, blocks, inside) if inside else _insert_rows(graph, blocks)
    check_roles(changed)
    for scale in [model["scale"]] if model.get("scale") else model.get("scales") or [None]:
        build_shapes(changed.yaml, scale)  # finds widths that the block cannot take
    return changed


def _read_blocks(block: str | Sequence[Placed], at: str | Iterable[str] | None, hyper: dict[str, Any]) -> list[_Block]:
    blocks = []
    if not isinstance(block, (str, list, tuple)) or not block:
        raise YoloAttnError(f"{shorten(block)} is no block; give its name, or a list of (name, at)")
    for given in [(block, at)] if isinstance(block, str) else block:
        if not _is_block_and_place(given):
            raise YoloAttnError(f"{given!r} is not a block and its place; give (name, at) or (name, at, hyper)")
        name, cls = resolve(given[0])
        own = bind(cls, kwargs={**hyper, **(cast(Any, given)[2] if len(given) == 3 else {})})
        blocks.append(_Block(name, [own] if own else [], given[1]))
    return blocks


def _is_block_and_place(given: Any) -> bool:
    return (
        isinstance(given, (list, tuple))
        and 2 <= len(given) <= 3
        and isinstance(given[0], str)
        and (len(given) == 2 or isinstance(given[2], Mapping))
    )


# --- rows after rows --------------------------------------------------------------------------------------------------
def _insert_rows(graph: Graph, blocks: Sequence[_Block]) -> Insertion:
    chains: dict[Site, list[Row]] = {}
    for block in blocks:
        for site in find_sites(graph, DEFAULT_AT if block.at is None else block.at):
            chain = chains.setdefault(site, [])
            name = row_name(block.name)
            if any(row[2] == name for row in chain):
                raise YoloAttnError(f"{block.name} is to go to the same place, {_describe(site)}, twice")
            chain.append([-1, 1, name, deepcopy(block.arguments)])
    return _RowInserter(graph, chains).rebuild()


def _describe(site: Site) -> str:
    return f"row {site.origin} to row {site.reader}" if site.reader is not None else f"after row {site.origin}"


class _RowInserter:
    """Rebuild the rows of a model with chains of new rows between them."""

    def __init__(self, graph: Graph, chains: Mapping[Site, list[Row]]):
        self.graph, self.chains = graph, chains
        self.rows: list[Row] = []
        self.new_rows: list[int] = []
        self.row_map: dict[int, int] = {}
        self.result = {IMAGE: IMAGE}  # row of the base -> row that holds its output now

    def rebuild(self) -> Insertion:
        split = 0
        for i, (source, *rest) in enumerate(self.graph.rows):
            gated = {s: self._add(self.result[s], self.chains.get(Site(s, i), [])) for s in self.graph.sources(i)}
            self.row_map[i] = len(self.rows)
            self.rows.append([self._re_indexed(i, source, gated), *rest])
            self.result[i] = self._add(self.row_map[i], self.chains.get(Site(i), []))
            split = len(self.rows) if self.graph.section(i) == "backbone" else split
        sections = {"backbone": self.rows[:split], "head": self.rows[split:]}
        model = dict(self.graph.model)
        return Insertion({**model, **sections}, self.row_map, tuple(self.new_rows), model)

    def _add(self, origin: int, chain: list[Row]) -> int:
        """Add a chain of rows that reads row ``origin``, and return the row of its output."""
        for row in chain:
            self.new_rows.append(len(self.rows))
            self.rows.append([-1 if origin == len(self.rows) - 1 else origin, *row[1:]])
            origin = len(self.rows) - 1
        return origin

    def _re_indexed(self, index: int, source: Any, gated: Mapping[int, int]) -> Any:
        if isinstance(source, (list, tuple)):
            return [self._re_indexed(index, f, gated) for f in source]
        now, here = gated[source if source >= 0 else index + source], len(self.rows)
        return source if source < 0 and here + source == now else -1 if source == -1 and now == here - 1 else now


# --- inside host blocks -----------------------------------------------------------------------------------------------
def _insert_inside(graph: Graph, blocks: Sequence[_Block], inside: str) -> Insertion:
    hosts, _, place = inside.partition("@")
    if place and place not in POSITIONS:
        raise YoloAttnError(f"inside='{inside}': {one_of('place', place, POSITIONS)}")
    rows = deepcopy(graph.rows)
    changed: dict[int, str] = {}
    for block in blocks:
        for i in find_rows_inside(graph, [h.strip() for h in hosts.split(",")], block.at):
            source, repeats, name, args = graph.rows[i]
            if held := changed.get(i) or (name if split_name(name) else None):
                raise YoloAttnError(f"row {i} has a block inside already ({held}); a host block holds one")
            changed[i] = f"{name}_{block.name}" + (f"@{place}" if place else "")
            rows[i] = [source, repeats, changed[i], [*args, *deepcopy(block.arguments)]]
    split, model = len(graph.model["backbone"]), dict(graph.model)
    new = {**model, "backbone": rows[:split], "head": rows[split:]}
    return Insertion(new, {i: i for i in range(len(rows))}, (), model, tuple(sorted(changed)))


# --- proof ------------------------------------------------------------------------------------------------------------
def check_roles(changed: Insertion) -> None:
    """Check that every row reads the same rows as in the base model, directly or through inserted rows.

    Raises:
        YoloAttnError: If one does not; the message names it and the rows it would read.
    """
    old, new = rows_of(changed.base), rows_of(changed.yaml)
    back = {j: i for i, j in changed.row_map.items()}

    def origin(j: int) -> int:
        while j in changed.new_rows:
            (j,) = sources_of(j, new[j])
        return back.get(j, j)

    for i, j in changed.row_map.items():
        was, now = sources_of(i, old[i]), [origin(s) for s in sources_of(j, new[j])]
        if was != now:
            raise YoloAttnError(f"row {j} ({new[j][2]}) would read base rows {now}, in the base model it reads {was}")
        if not _same_module(old[i], new[j], inside=j in changed.inside):
            raise YoloAttnError(f"row {j} is {flow(new[j])}, in the base model it is {flow(old[i])}")


def _same_module(old: Row, new: Row, inside: bool) -> bool:
    if not inside:
        return old[1:] == new[1:]
    return (old[1], old[2]) == (new[1], _split(new[2])[0]) and new[3][: len(old[3])] == old[3]


def _split(name: str) -> tuple[str, str, str | None]:
    """Return host block, attention block and position of a layer that is known to hold a block inside."""
    parts = split_name(name)
    if parts is None:
        raise YoloAttnError(f"'{name}' holds no attention block")
    return parts


def _base_name(model: Mapping[str, Any]) -> str:
    return Path(str(model.get("yaml_file", "model"))).stem
