"""Describe the classes of a foreign model YAML that neither this package nor Ultralytics has, and stand in for them.

The purpose of such a class can only be guessed, from its name and its row. The guess is told as one, and used for
nothing but the channels and the wiring of the rows around it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.model import is_row_module, means_block, split_name
from yolo_attn.host.registry import aliases_of, names
from yolo_attn.models.graph import Row, rows_of
from yolo_attn.util.lists import as_list

_OWN = "register it, or a block that does the same: @ya.register in a file, then --import FILE"
_HOW = {
    "attention": ("an attention block that is not supported here", f"; {_OWN}"),
    "host": ("a block like {near} with something else inside", "; the nearest class here is {near}"),
    "join": ("a module that joins several maps, as in a BiFPN", "; the nearest class here is Concat"),
    "head": ("a head", "; the nearest class here is Detect"),
    "upsample": ("a module that makes maps larger", "; the nearest class here is nn.Upsample"),
    "pooling": ("a pooling block", "; the nearest class here is SPPF"),
    "convolution": ("a convolution", "; the nearest class here is Conv"),
    "backbone": ("a whole backbone in one row", "; take its layers one by one (TorchVision rows do that)"),
    "other": ("of a purpose that its name does not tell", ""),
}
_NAMES = (
    ("join", r"bi_?fpn|concat|fusion|fuse|asff|add$|^sum|gather|inject|zoom_?cat"),
    ("pooling", r"^spp|aspp|rfb|aifi"),
    ("upsample", r"carafe|dysample|upsample|^eucb"),
    ("attention", r"attention|attn|atten|^se_|cbam|gate"),
    ("convolution", r"conv|^dws|down|focus|stem|^c?bs$|^cba$"),
    ("backbone", r"net(v\d)?(_|$)|vit|swin|former|mobileone"),
)


@dataclass(frozen=True)
class Missing:
    """A class that a model YAML needs and that is not here.

    Attributes:
        name: Its name in the rows.
        rows: Their numbers.
        kind: ``attention``, ``host``, ``join``, ``head``, ``upsample``, ``pooling``, ``convolution``, ``backbone`` or
            ``other``.
        near: The host block in the name, such as C2f of C2f_DCNv3, or the block with the most similar name; empty where
            there is none.
    """

    name: str
    rows: tuple[int, ...]
    kind: str
    near: str = ""

    def __str__(self) -> str:
        what, how = _HOW[self.kind]
        where = "row" if len(self.rows) == 1 else "rows"
        listed = ", ".join(map(str, self.rows))
        if self.kind == "attention" and self.near:
            how = f"; the nearest name here is {self.near}, or {_OWN}"
        return f"{self.name} ({where} {listed}) is not here: probably {what}{how}".replace("{near}", self.near)


def missing_classes(model: Mapping[str, Any]) -> list[Missing]:
    """Return the classes of a model dict that are not here, in the order of their first rows."""
    rows = rows_of(model)
    found: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if _is_missing(row[2]):
            found.setdefault(row[2], []).append(i)
    return [_described(name, where, rows) for name, where in found.items()]


def _is_missing(name: str) -> bool:
    try:
        return not (means_block(name) or split_name(name) or is_row_module(name))
    except YoloAttnError as error:  # a host block with an unknown block inside; other errors are told by the row
        return isinstance(error, KeyError) and "@" not in name


def _described(name: str, where: list[int], rows: list[Row]) -> Missing:
    source, _, _, args = rows[where[0]]
    args = as_list(args)
    outer = next((name[:i] for i in range(len(name) - 1, 0, -1) if name[i] == "_" and is_row_module(name[:i])), "")
    if where == [len(rows) - 1]:
        return Missing(name, tuple(where), "head")
    alike = difflib.get_close_matches(name, [n for b in names() for n in (b, *aliases_of(b))], n=1, cutoff=0.85)
    if alike and not isinstance(source, (list, tuple)):
        return Missing(name, tuple(where), "attention", alike[0])
    named = next((kind for kind, pattern in _NAMES if re.search(pattern, name, re.IGNORECASE)), "")
    if isinstance(source, (list, tuple)):
        kind = "join"
    elif outer and outer not in ("Conv", "Concat"):
        return Missing(name, tuple(where), "host", outer)
    elif not named and all(type(a) is int for a in args) and len(args) == 3 and args[1] in (1, 3, 5, 7):
        kind = "convolution"
    elif named == "convolution" and not args:
        kind = "other"
    else:
        kind = named or "other"
    return Missing(name, tuple(where), kind)


def stand_in(row: Row, kind: str, near: str = "") -> Row:
    """Return a row of Ultralytics, or a control, with the channels that a row of a missing class probably has."""
    source, repeats, _, args = row
    args = [a for a in as_list(args) if not isinstance(a, Mapping)]
    numbers = [a for a in args if type(a) is int]
    first = source[0] if isinstance(source, (list, tuple)) and source else source
    if kind == "head":
        return [source, 1, "Detect", ["nc"]]
    if kind == "join" and isinstance(source, (list, tuple)):
        return [source, 1, "Concat", [1]]
    if kind == "host":
        return [first, repeats, near, args]
    if kind == "attention":
        return [first, 1, "IdentityControl", []]
    if kind == "upsample":
        return [first, 1, "nn.Upsample", ["None", 2, "nearest"]]
    if kind == "convolution" and numbers:
        return [first, 1, "Conv", numbers[:3]]
    return [first, 1, "Conv", [numbers[0], 1]] if numbers and numbers[0] > 7 else [first, 1, "nn.Identity", []]
