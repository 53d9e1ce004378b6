"""Find rows of a model dict that nobody reads, and rows that read another row than in the stock model.

Both are what is left when rows were inserted into a model YAML by hand and not every later ``from`` was corrected.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_attn.host.compat import tasks
from yolo_attn.host.model_files import host_model_files
from yolo_attn.host.row_names import means_block, returns_no_map, split_name
from yolo_attn.util.lists import as_list

Row = list[Any]
IMAGE = -1
"""Row number of the image, which the first row reads."""

JOINS = ("Concat", "nn.Upsample")
"""Modules by which two models are known to be wired alike, beside their heads."""

_NOT_SETTINGS = ("backbone", "head", "nc", "scales", "scale", "yaml_file", "ch", "channels")


def sources_of(index: int, row: Row) -> list[int]:
    """Return the absolute row numbers a row reads; the image is row -1."""
    return [f if f >= 0 else index + f for f in as_list(row[0])]


def rows_of(model: Mapping[str, Any]) -> list[Row]:
    """Return all rows of a model dict: backbone, then head."""
    return [*model["backbone"], *model["head"]]


@dataclass(frozen=True)
class Unread:
    """A row whose output no later row reads.

    Attributes:
        row: Its number.
        name: Its module.
        attention: Whether it is, or holds, an attention block.
        reader: The first later row that reads what this row reads, if there is one.
        meant: The ``from`` of that reader with this row in place of what it reads.
    """

    row: int
    name: str
    attention: bool
    reader: int | None
    meant: Any

    def __str__(self) -> str:
        said = f"row {self.row}, {self.name}, is read by no later row: the model computes what it would without it"
        return said if self.reader is None else f"{said}. Did row {self.reader} mean to read {self.meant}?"


@dataclass(frozen=True)
class Rewired:
    """A row that reads another row than in the stock model of the same wiring.

    Attributes:
        row: Its number.
        name: Its module.
        reads: What it reads here: absolute row numbers.
        stock: File name of the stock model.
        there: What the row reads there, as rows here: behind the attention that follows them.
    """

    row: int
    name: str
    reads: tuple[int, ...]
    stock: str
    there: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"row {self.row}, {self.name}, reads {_listed(self.reads)}; in {self.stock} it reads what is "
            f"{_listed(self.there)} here. Did it mean {list(self.there)}?"
        )


def unread_rows(model: Mapping[str, Any]) -> list[Unread]:
    """Return the rows that no later row reads, but the last and those that return no feature map.

    Args:
        model: A model dict whose rows were checked.
    """
    host, rows = tasks(), rows_of(model)
    sources = [sources_of(i, row) for i, row in enumerate(rows)]
    read = {s for given in sources for s in given}
    found = []
    for i, row in enumerate(rows[:-1]):
        if i in read or returns_no_map(row[2], host):
            continue
        attention = means_block(row[2], host)
        reader = next((k for k in range(i + 1, len(rows)) if attention and sources[i][0] in sources[k]), None)
        meant = None if reader is None else _replaced(rows[reader][0], reader, sources[i][0], i)
        found.append(Unread(i, row[2], attention or split_name(row[2], host) is not None, reader, meant))
    return found


def _replaced(given: Any, reader: int, old: int, new: int) -> Any:
    """Return a ``from`` that reads another row in place of one."""
    if not isinstance(given, (list, tuple)):
        return new
    return [new if (f if f >= 0 else reader + f) == old else f for f in given]


@dataclass(frozen=True)
class _Base:
    """A model without its attention rows.

    Attributes:
        rows: Numbers of its rows in the model with attention.
        names: Their modules, without blocks inside.
        sources: What each reads, by its place in ``rows``; attention is passed through.
        behind: The last row here of the attention behind each row; the row itself where there is none.
        arguments: Their arguments, without those of blocks inside.
        settings: Settings of the whole model, e.g. ``end2end``.
    """

    rows: list[int]
    names: list[str]
    sources: list[tuple[int, ...]]
    behind: list[int]
    arguments: list[list[Any]]
    settings: dict[str, Any]

    @property
    def wiring(self) -> tuple[str, ...]:
        """The joins and heads among the rows, by which models are compared."""
        return tuple(n if n in JOINS or i == len(self.names) - 1 else "" for i, n in enumerate(self.names))


def _base_of(model: Mapping[str, Any]) -> _Base:
    settings = {k: v for k, v in model.items() if k not in _NOT_SETTINGS}
    host, found, place = tasks(), _Base([], [], [], [], [], settings), {IMAGE: IMAGE}
    for i, row in enumerate(rows_of(model)):
        given = tuple(place[s] for s in sources_of(i, row))
        if means_block(row[2], host):
            place[i] = given[0]
            if given[0] != IMAGE and found.behind[given[0]] == i - 1:
                found.behind[given[0]] = i
            continue
        place[i] = len(found.rows)
        parts = split_name(row[2], host)
        found.rows.append(i)
        found.names.append(parts[0] if parts else row[2])
        found.sources.append(given)
        found.behind.append(i)
        found.arguments.append([given for given in as_list(row[3]) if not isinstance(given, Mapping)])
    return found


def rewired_rows(model: Mapping[str, Any]) -> list[Rewired]:
    """Return the rows that read another base row than in the stock model with the same joins and head.

    Args:
        model: A model dict whose rows were checked.

    Returns:
        Nothing where no stock model has these joins and this head, or one is wired exactly like this.
    """
    base = _base_of(model)
    alike = {name: stock for name, stock in _stock_models().items() if stock.wiring == base.wiring}
    differing = {name: _other_sources(base, stock) for name, stock in alike.items()}
    if not differing or not all(differing.values()):
        return []
    name = min(differing, key=lambda stock: (len(differing[stock]), *_unlike(base, alike[stock]), len(stock)))
    rows = rows_of(model)
    return [
        Rewired(
            base.rows[i],
            base.names[i],
            tuple(sources_of(base.rows[i], rows[base.rows[i]])),
            name,
            tuple(IMAGE if s == IMAGE else base.behind[s] for s in alike[name].sources[i]),
        )
        for i in differing[name]
    ]


def _other_sources(one: _Base, other: _Base) -> list[int]:
    return [i for i, (a, b) in enumerate(zip(one.sources, other.sources, strict=True)) if a != b]


def _unlike(one: _Base, other: _Base) -> tuple[int, int]:
    """Count how many modules of two models with the same joins differ, and how many arguments and settings."""
    keys = one.settings.keys() | other.settings.keys()
    settings = sum(one.settings.get(key) != other.settings.get(key) for key in keys)
    arguments = sum(a != b for a, b in zip(one.arguments, other.arguments, strict=True))
    return sum(a != b for a, b in zip(one.names, other.names, strict=True)), arguments + settings


@functools.lru_cache(maxsize=1)
def _stock_models() -> dict[str, _Base]:
    import yaml

    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {
        file.name: _base_of(fast(file.read_text(encoding="utf-8")).get_single_data()) for file in host_model_files()
    }


def _listed(rows: Sequence[int]) -> str:
    said = [("the image" if i == IMAGE else str(i)) for i in rows]
    return f"row {said[0]}" if len(said) == 1 else f"rows {', '.join(said[:-1])} and {said[-1]}"


def stock_model(model: Mapping[str, Any]) -> str | None:
    """Return the file name of the stock model that is wired like a model without its attention, ``None`` for none.

    Of several it is the one with the most modules in common.
    """
    base = _base_of(model)
    alike = {n: s for n, s in _stock_models().items() if s.wiring == base.wiring and not _other_sources(base, s)}
    return min(alike, key=lambda name: (*_unlike(base, alike[name]), len(name)), default=None)
