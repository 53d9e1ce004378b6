"""Insert attention rows into a model YAML by role, and keep every other row reading what it read before.

Roles are found by walking the built graph: a row's stride is measured, the rows that the head reads are the neck's
outputs, and the last backbone row of each stride is the backbone's. Nothing is counted by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.registration import load_model_dict, row_strides
from yolo_attn.registry import is_known, resolve
from yolo_attn.schema import bind

Row = list[Any]
_SIZE_WORDS = {2: "xsmall", 3: "small", 4: "medium", 5: "large", 6: "xlarge"}


@dataclass(frozen=True)
class Insertion:
    """A model with attention rows added, and how to get back to the model it came from.

    Attributes:
        yaml: The new model, as a model YAML's content.
        row_map: Row of the base model -> the same row here.
        new_rows: The rows that were added.
        base: The model it came from.
    """

    yaml: dict[str, Any]
    row_map: dict[int, int]
    new_rows: tuple[int, ...]
    base: dict[str, Any]

    def save(self, path: str | Path) -> Path:
        """Write the model YAML, commented with row numbers and roles, and return its path.

        A scale that the base's name stated is not stored: as with stock YAMLs, the name a model is opened by states it.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = ", ".join(sorted({rows_of(self.yaml)[i][2] for i in self.new_rows}))
        path.write_text(to_text(self.yaml, title=f"{_base_name(self.base)} with {blocks}"), encoding="utf-8")
        return path

    def __str__(self) -> str:
        old, new = rows_of(self.base), rows_of(self.yaml)
        lines = [f"+ {i:>3}  {_flow(new[i])}" for i in self.new_rows]
        moved = {i: j for i, j in self.row_map.items() if old[i][0] != new[j][0]}
        lines += [f"~ {j:>3}  {_flow(new[j])}   was row {i}, from {old[i][0]}" for i, j in moved.items()]
        return "\n".join(lines)


def rows_of(model: Mapping[str, Any]) -> list[Row]:
    """Return all rows of a model dict: backbone, then head."""
    return [*model["backbone"], *model["head"]]


def read_model(base: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return a model dict of its own, from a name, a path or another model dict."""
    return deepcopy(dict(base)) if isinstance(base, Mapping) else load_model_dict(base)


def sources_of(index: int, row: Row) -> list[int]:
    """Return the absolute row numbers a row reads; the image is row -1."""
    given = row[0] if isinstance(row[0], (list, tuple)) else [row[0]]
    return [f if f >= 0 else index + f for f in given]


def find_roles(model: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Find which row ends each level of backbone and neck.

    Args:
        model: A model dict.

    Returns:
        ``{"backbone": {"P1": 0, ..., "P5": 10}, "neck": {"P3": 16, ...}}``; ``Pk`` has stride ``2**k``. A model
        whose last row reads one row only (a classifier) has no neck.
    """
    rows, backbone = rows_of(model), len(model["backbone"])
    strides = row_strides(model)
    roles: dict[str, dict[str, int]] = {"backbone": {}, "neck": {}}
    for i in range(min(backbone, len(strides))):
        if level := _level(strides[i]):
            roles["backbone"][level] = i
    feeding = sources_of(len(rows) - 1, rows[-1])
    if len(feeding) > 1:
        roles["neck"] = {level: i for i in feeding if (level := _level(strides[i]))}
    return roles


def insert(base: str | Path | Mapping[str, Any], block: str, at: str = "neck:P3,P4,P5", **hyper: Any) -> Insertion:
    """Add a block after given rows of a model; every other row goes on reading what it read, through the block.

    Args:
        base: Name or path of a model YAML, or a model dict.
        block: Name or alias of a registered block.
        at: ``neck:P3,P4,P5``, ``backbone:P4``, ``neck:all`` or ``after:4,9`` (row numbers of the base); several sites
            may be joined by ``;``.
        **hyper: The block's hyper-parameters, e.g. ``variant="L"``, ``init="identity"``.

    Raises:
        YoloAttnError: For an unknown block or hyper-parameter, or a site that the model does not have.

    Examples:
        >>> insert("yolo11n.yaml", "ELA", at="neck:P3,P4,P5", init="identity").new_rows
        (17, 21, 25)
    """
    model = read_model(base)
    name, cls = resolve(block)
    arguments = [bind(cls, kwargs=hyper)] if hyper else []
    sites = find_sites(model, at)
    rows = rows_of(model)
    row_map = {i: i + sum(site < i for site in sites) for i in range(len(rows))}
    output = {i: j + (i in sites) for i, j in row_map.items()}  # where a row's result is found now

    sections: dict[str, list[Row]] = {"backbone": [], "head": []}
    new_rows = []
    for i, (source, *rest) in enumerate(rows):
        section = sections["backbone" if i < len(model["backbone"]) else "head"]
        section.append([_re_indexed(i, source, output), *rest])
        if i in sites:
            section.append([-1, 1, name, deepcopy(arguments)])
            new_rows.append(output[i])
    changed = Insertion({**model, **sections}, row_map, tuple(new_rows), model)
    check_roles(changed)
    return changed


def find_sites(model: Mapping[str, Any], at: str) -> list[int]:
    """Return the rows that ``at`` names, in ascending order.

    Raises:
        YoloAttnError: If the model has no such role or row; the message says which it has.
    """
    sites: set[int] = set()
    for part in at.split(";"):
        place, _, wanted = part.strip().partition(":")
        names = [w.strip() for w in wanted.split(",") if w.strip()]
        if place not in ("after", "backbone", "neck") or not names:
            raise YoloAttnError(f"cannot insert at '{part}': {one_of('place', place, ['neck', 'backbone', 'after'])}"
                                " (as in neck:P3,P4,P5 or after:4)")  # fmt: skip
        sites.update(_rows_after(model, names) if place == "after" else _rows_by_role(model, place, names))
    return sorted(sites)


def _rows_after(model: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    last = len(rows_of(model)) - 2
    for name in names:
        if not name.isdigit() or int(name) > last:
            raise YoloAttnError(f"cannot insert after row {name}: rows 0 to {last} can be followed by a block")
    return [int(n) for n in names]


def _rows_by_role(model: Mapping[str, Any], place: str, names: Sequence[str]) -> list[int]:
    roles = find_roles(model)[place]
    if not roles:
        raise YoloAttnError(f"this model has no {place}; use backbone:... or after:ROW")
    if list(names) == ["all"]:
        return list(roles.values())
    for name in names:
        if name not in roles:
            raise YoloAttnError(f"this model's {place} has no {name}: {one_of('level', name, roles)}")
    return [roles[n] for n in names]


def check_roles(changed: Insertion) -> None:
    """Make sure that every row reads the same rows as in the base model, directly or through added rows.

    Raises:
        YoloAttnError: If one does not; the message names it and what it would have read.
    """
    old, new = rows_of(changed.base), rows_of(changed.yaml)
    back = {j: i for i, j in changed.row_map.items()}

    def origin(j: int) -> int:
        while j in changed.new_rows:
            (j,) = sources_of(j, new[j])
        return back.get(j, j)

    for i, j in changed.row_map.items():
        was, now = sources_of(i, old[i]), [origin(s) for s in sources_of(j, new[j])]
        if was != now or old[i][1:] != new[j][1:]:
            raise YoloAttnError(f"row {j} ({new[j][2]}) would read base rows {now}, in the base model it reads {was}")


def to_text(model: Mapping[str, Any], title: str) -> str:
    """Write a model dict as YAML text in the style of Ultralytics' own, each row commented with number and role."""
    comments, skip = _row_comments(model), {"backbone", "head", "scales", "scale", "yaml_file"}
    lines = [f"# {title}. Ultralytics YOLO model (AGPL-3.0), attention rows by yolo-attn (AGPL-3.0)."]
    if any("identity" in str(row[3]) for row in rows_of(model)):
        lines.append(
            "# init: identity starts a block as y = x; init: paper (the default) starts it as its authors did."
        )
    lines.append("")
    lines += [f"{key}: {_flow(value)}" for key, value in model.items() if key not in skip]
    if model.get("scales"):
        lines += ["scales: # [depth, width, max_channels]; the model's name picks one, as in yolo11n-ela.yaml"]
        lines += [f"  {scale}: {_flow(values)}" for scale, values in model["scales"].items()]
    index = 0
    for section in ("backbone", "head"):
        lines += ["", f"{section}:", "  # [from, repeats, module, args]"]
        for row in model[section]:
            lines.append(f"  - {_flow(list(row))} # {comments[index]}")
            index += 1
    return "\n".join(lines) + "\n"


def _row_comments(model: Mapping[str, Any]) -> list[str]:
    rows, backbone = rows_of(model), len(model["backbone"])
    strides = row_strides(model)
    feeding = set(sources_of(len(rows) - 1, rows[-1]))
    comments = []
    for i, row in enumerate(rows):
        sources, level = sources_of(i, row), _level(strides[i]) if i < len(strides) else None
        role = f"{level}/{int(strides[i])}" if level else ""
        if i == len(rows) - 1:
            comments.append(f"{row[2]}({', '.join(_level(strides[s]) or str(s) for s in sources)})")
        elif i in feeding and level:
            size = _SIZE_WORDS.get(int(level[1:]), "")
            comments.append(f"{i} ({role}-{size})" if size else f"{i} ({role})")
        elif is_known(row[2]):
            comments.append(f"{i} ({role})")
        elif i < backbone and level and (i == 0 or strides[i] > strides[i - 1]):
            comments.append(f"{i}-{role}")
        elif row[2] == "Concat":
            place = "backbone" if min(sources) < backbone else "head"
            comments.append(f"{i} cat {place} {level}")
        else:
            comments.append(str(i))
    return comments


def _re_indexed(index: int, source: Any, output: Mapping[int, int]) -> Any:
    if isinstance(source, (list, tuple)):
        return [_re_indexed(index, f, output) for f in source]
    return -1 if source == -1 else output[source if source >= 0 else index + source]


def _level(stride: float) -> str | None:
    level = math.log2(stride) if stride >= 1 else -1
    return f"P{int(level)}" if level == int(level) and level >= 1 else None


def _base_name(model: Mapping[str, Any]) -> str:
    return Path(str(model.get("yaml_file", "model"))).stem


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).replace("\n...", "").strip()
