"""Parse insertion sites: ``neck:P3,P4``, ``sppf``, ``pre-detect``, ``after:4``, ``before:9``, several with ``;``.

A site is one edge of the graph, or all edges that leave a row; the inserted block processes what passes through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yolo_attn.errors import YoloAttnError, one_of, shorten
from yolo_attn.models.graph import IMAGE, Graph

SITES = ("neck", "backbone", "sppf", "pre-detect", "after", "before")
_EXAMPLES = "as in neck:P3,P4,P5, sppf, pre-detect, after:4 or before:9"


@dataclass(frozen=True)
class Site:
    """Site of one inserted block.

    Attributes:
        origin: The row whose output the block gates.
        reader: The one row that reads the block's output; ``None`` for all readers of the row.
    """

    origin: int
    reader: int | None = None


def find_sites(graph: Graph, at: str | Iterable[str]) -> list[Site]:
    """Return the sites that ``at`` names, each once.

    Raises:
        YoloAttnError: If the model has no such role or row; the message lists those it has.
    """
    sites: dict[Site, None] = {}
    for part in _parts(at):
        for site in _sites_of(graph, part):
            if site.origin != IMAGE and not graph.strides[site.origin]:
                raise YoloAttnError(
                    f"cannot insert at '{part}': row {site.origin} ({graph.rows[site.origin][2]}) gives no feature map"
                )
            sites[site] = None
    return list(sites)


def find_rows_inside(graph: Graph, hosts: Sequence[str], at: str | Iterable[str] | None) -> list[int]:
    """Return the rows of the given host blocks, all of them or those that ``at`` names.

    Args:
        graph: The model.
        hosts: Names of host blocks, e.g. ``["C3k2"]``.
        at: Sites as for :func:`find_sites`; ``backbone`` and ``neck`` alone mean all their rows of these hosts.

    Raises:
        YoloAttnError: If there is no such row, or ``at`` names a row of another module.
    """
    names = [graph.host_name(i) for i in range(graph.last)]
    known = [name for name in dict.fromkeys(names) if "." not in name]
    for host in hosts:
        if host not in known:
            raise YoloAttnError(f"no row to put a block inside: {one_of('host block', host, known)}")
    fitting = [i for i, name in enumerate(names) if name in hosts]
    if at is None:
        return fitting
    chosen: set[int] = set()
    for part in _parts(at):
        if part in ("backbone", "neck"):
            chosen.update(i for i in fitting if graph.section(i) == part)
            continue
        for i in [site.origin for site in find_sites(graph, part)]:
            if i not in fitting:
                raise YoloAttnError(
                    f"'{part}' is row {i}, a {graph.rows[i][2]}; rows of {', '.join(hosts)}: "
                    f"{', '.join(map(str, fitting))}"
                )
            chosen.add(i)
    if not chosen:
        raise YoloAttnError(f"no row of {', '.join(hosts)} at '{at}'; they are rows {', '.join(map(str, fitting))}")
    return sorted(chosen)


def _parts(at: str | Iterable[str]) -> list[str]:
    try:
        parts = [part.strip() for text in ([at] if isinstance(at, str) else at) for part in text.split(";")]
    except (TypeError, AttributeError):
        parts = []
    if not parts:
        raise YoloAttnError(f"at={shorten(at)} is not a place or a list of places ({_EXAMPLES})")
    return parts


def _sites_of(graph: Graph, part: str) -> list[Site]:
    place, _, wanted = part.partition(":")
    names = [w.strip() for w in wanted.split(",") if w.strip()]
    if place in ("sppf", "pre-detect") and not wanted:
        return _after_pooling(graph) if place == "sppf" else _before(graph, graph.last)
    if place not in SITES:
        raise YoloAttnError(f"cannot insert at '{part}': {one_of('place', place, SITES)} ({_EXAMPLES})")
    if not names or place in ("sppf", "pre-detect"):
        wrong = "takes no levels or rows" if wanted else "needs levels or rows"
        raise YoloAttnError(f"cannot insert at '{part}': '{place}' {wrong} ({_EXAMPLES})")
    if place == "after":
        return [Site(i) for i in _row_numbers(names, graph.last - 1, "after", "be followed by a block")]
    if place == "before":
        readers = _row_numbers(names, graph.last, "before", "have a block before them")
        return [site for i in readers for site in _before(graph, i)]
    return [Site(i) for i in _by_role(graph, place, names)]


def _before(graph: Graph, reader: int) -> list[Site]:
    return [Site(origin, reader) for origin in graph.sources(reader)]


def _after_pooling(graph: Graph) -> list[Site]:
    if not graph.pooling:
        raise YoloAttnError(f"this model has no SPPF row; it has {_describe_roles(graph)}")
    return [Site(i) for i in graph.pooling]


def _row_numbers(names: Sequence[str], last: int, place: str, can: str) -> list[int]:
    for name in names:
        if not name.isdecimal() or int(name) > last:
            raise YoloAttnError(f"cannot insert {place} row {name}: rows 0 to {last} can {can}")
    return [int(n) for n in names]


def _by_role(graph: Graph, place: str, names: Sequence[str]) -> list[int]:
    roles = graph.roles[place]
    if not roles:
        raise YoloAttnError(f"this model has no {place}; it has {_describe_roles(graph)}")
    if list(names) == ["all"]:
        return list(roles.values())
    for name in names:
        if name not in roles:
            raise YoloAttnError(f"this model's {place} has no {name}; it has {', '.join(roles)}")
    return [roles[n] for n in names]


def _describe_roles(graph: Graph) -> str:
    words = [f"{place}:{','.join(levels)}" for place, levels in graph.roles.items() if levels]
    return ", ".join([*words, *(["sppf"] if graph.pooling else []), "pre-detect", f"after:0 to after:{graph.last - 1}"])
