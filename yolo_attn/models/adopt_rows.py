"""Rewrite the rows of a foreign model dict in this package's own form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.hyper import bind, hyper_parameters
from yolo_attn.host.model import means_block, row_name, split_name
from yolo_attn.host.reading import fault_of_row, readings
from yolo_attn.host.registry import resolve
from yolo_attn.host.row_arguments import Reading, depends_on_channels
from yolo_attn.host.row_names import place_of
from yolo_attn.models.adopt_missing import Missing, missing_classes, stand_in
from yolo_attn.models.graph import Row, rows_of
from yolo_attn.models.yaml_text import flow
from yolo_attn.util.lists import as_list


@dataclass
class Foreign:
    """The rows of a foreign model dict, and what is known about them.

    Attributes:
        model: The model dict as it was written.
        missing: Classes that are not here.
        faults: The error of each row that means nothing.
        known: The model dict with stand-ins for both.
    """

    model: dict[str, Any]
    missing: list[Missing] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)


def examine(model: dict[str, Any]) -> Foreign:
    """Find the classes of a model dict that are not here, and its rows that mean nothing.

    Raises:
        YoloAttnError: If it is no model: a row is none, reads a row that does not exist, or a setting is none.
    """
    rows = rows_of(model)
    for i, row in enumerate(rows):
        if not isinstance(row, (list, tuple)) or len(row) != 4 or not isinstance(row[2], str):
            raise YoloAttnError(f"row {i} {row}: a row is [from, repeats, module, [arguments]]")
    found = Foreign(model, missing_classes(model))
    known: list[Row] = [deepcopy(list(row)) for row in rows]
    for cls in found.missing:
        for i in cls.rows:
            known[i] = stand_in(known[i], cls.kind, cls.near)
    for i, row in enumerate(rows):
        error = fault_of_row(with_rows(model, known), i)
        if error is None:
            continue
        if isinstance(error, IndexError) or not _is_attention(row[2]):
            raise error
        found.faults[i] = str(error)
        known[i] = _without_attention(list(row))
    found.known = with_rows(model, known)
    return found


def _is_attention(name: str) -> bool:
    try:
        return means_block(name) or split_name(name) is not None
    except YoloAttnError:
        return True


def _without_attention(row: Row) -> Row:
    source = row[0][0] if isinstance(row[0], (list, tuple)) and row[0] else row[0]
    try:
        parts = split_name(row[2])
    except YoloAttnError:
        parts = None
    if parts is None:
        return [source, 1, "IdentityControl", []]
    return [row[0], 1, parts[0], [a for a in as_list(row[3]) if not isinstance(a, Mapping)]]


def with_rows(model: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Return a model dict with other rows, as many as it has."""
    split = len(model["backbone"] or [])
    return {**model, "backbone": list(rows[:split]), "head": list(rows[split:])}


@dataclass
class Rewritten:
    """Rows in this package's own form.

    Attributes:
        rows: All rows.
        was: A remark on every row that was written otherwise.
        counts: Rows whose number of channels was left out.
        anchors: Rows whose anchors were left out.
        faults: The error of each row that means nothing.
        unknown: Rows whose arguments depend on the channels of a class that is not here.
    """

    rows: list[Row]
    was: dict[int, str] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    anchors: list[int] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)


def rewrite(foreign: Foreign) -> Rewritten:
    """Return the rows of a model dict in this package's own form; those that nobody understands as they are."""
    old = rows_of(foreign.model)
    made = Rewritten([deepcopy(list(row)) for row in old], faults=dict(foreign.faults))
    missing = {i for cls in foreign.missing for i in cls.rows}
    found = _readings(foreign)
    for i, row in enumerate(made.rows):
        if i in foreign.faults or i in missing:
            continue
        said = ""
        if means_block(row[2]):
            said = _rewrite_block(i, row, found, made, certain=i < min(missing, default=i + 1))
        elif parts := split_name(row[2]):
            said = _rewrite_host(row, parts)
        elif isinstance(row[3], (list, tuple)) and "anchors" in row[3]:
            row[3] = [given for given in row[3] if given != "anchors"]
            made.anchors.append(i)
            said = "the head has no anchors; they are left out"
        if list(old[i])[2:] != row[2:]:
            made.was[i] = f"was {old[i][2]}, {flow(old[i][3])}" + (f": {said}" if said else "")
    return made


def _readings(foreign: Foreign) -> dict[int, Reading | YoloAttnError]:
    """Return how rows are read at the model's scale, or at the first of its scales where they mean something."""
    if not any(_depends_on_channels(row) for row in rows_of(foreign.known)):
        return {}
    scales = list(foreign.model.get("scales") or [None])
    scale = foreign.model.get("scale")
    found: dict[int, Reading | YoloAttnError] = {}
    for at in sorted(scales, key=lambda s: s != scale):
        try:
            read = readings(foreign.known, at)
        except YoloAttnError:
            if foreign.missing:  # a stand-in does not fit
                return {}
            raise
        for i, reading in read.items():
            if not isinstance(found.get(i), Reading) and (i not in found or isinstance(reading, Reading)):
                found[i] = reading
        if not any(isinstance(r, YoloAttnError) for r in found.values()):
            break
    return found


def _depends_on_channels(row: Row) -> bool:
    return means_block(row[2]) and depends_on_channels(resolve(row[2])[1], as_list(row[3]))


def _rewrite_block(
    index: int, row: Row, found: Mapping[int, Reading | YoloAttnError], made: Rewritten, certain: bool
) -> str:
    """Rewrite the row of a block in place, and return what was understood."""
    name, cls = resolve(row[2])
    args = as_list(row[3])
    said = ""
    if depends_on_channels(cls, args):
        reading = found.get(index)
        if not isinstance(reading, Reading) or (not certain and not reading.counts and not reading.plain):
            if certain and reading is not None:
                made.faults[index] = str(reading)
            else:
                made.unknown.append(index)
            return ""
        if reading.counts:
            made.counts.append(index)
        hyper, said = reading.hyper, reading.said(name, args)
    else:
        hyper = {} if _is_variadic(cls) else bind(cls, args)
    row[2] = row_name(name)
    if not _is_variadic(cls):
        row[3] = [hyper] if hyper else []
    return said


def _is_variadic(cls: type) -> bool:
    return any(p.kind is p.VAR_POSITIONAL for p in hyper_parameters(cls).values())


def _rewrite_host(row: Row, parts: tuple[str, str, str | None]) -> str:
    """Rewrite the row of a host block with a block inside in place, and return what was understood."""
    outer, block, written = parts
    *args, last = as_list(row[3]) or [{}]
    if not isinstance(last, Mapping):
        args, last = [*args, last], {}
    hyper = dict(last)
    stated = hyper.pop("place", None)
    usual = place_of(outer, block, None)
    place = written or stated or usual
    row[2] = f"{outer}_{block}" + (f"@{place}" if place else "")
    row[3] = [*args, *([hyper] if hyper else [])]
    return f"read as @{usual}, where public code has it" if usual and not (written or stated) else ""
