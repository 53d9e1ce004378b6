"""Tell what the module name of a row means: a block of this package, a host block that holds one, or Ultralytics' own.

Ultralytics looks a name up among the globals of ``ultralytics.nn.tasks``. A block does not take a name that is taken
there: somebody's own class put under ``CBAM`` is what ``CBAM`` means in that user's model YAMLs, as without this
package. ``yolo_attn.CBAM`` always means the block of this package, and so does every name in the shipped YAMLs.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like, one_of
from yolo_attn.host.model_files import shipped_models, unscaled
from yolo_attn.host.registry import PREFIX, canonical, is_known, replaces_host, resolve, unknown_block

if TYPE_CHECKING:
    from types import ModuleType

INSIDE_KEY = "yolo_attn.Inside"
"""Module name of the appended row that puts blocks inside host layers, a global of Ultralytics' parser."""

OWN_NAMES = "yolo_attn"
"""Entry of a built model's dict: the names of its rows that are blocks."""

POSITIONS = ("inner", "outer", "concat")
NOT_ONE_MAP = ("CBLinear", "ImagePoolingAttn", "TorchVision", "Index")  # hosts that do not return one feature map


def row_key(name: str) -> str:
    """Return the global of Ultralytics' parser for a block's row class, which no other module has."""
    return PREFIX + name


def is_taken(name: str, host: ModuleType) -> bool:
    """Tell whether Ultralytics, or a class put into its globals, has the name of a block."""
    held = vars(host).get(name)
    return held is not None and not replaces_host(name) and held is not resolve(name)[1]


def means_block(name: str, host: ModuleType) -> bool:
    """Tell whether a row of this name is a block or control of this package."""
    return is_known(name) and (name.startswith(PREFIX) or not is_taken(name, host))


def row_name(name: str, host: ModuleType) -> str:
    """Return what to write into a row for a block given by its YAML name."""
    return row_key(name) if is_taken(name, host) else name


def split_name(name: str, host: ModuleType) -> tuple[str, str, str | None] | None:
    """Split a module name such as ``C3k2_ELA@inner``, or ``C3CBAM`` as other people write it, into its parts.

    Args:
        name: A row's module.
        host: ``ultralytics.nn.tasks``.

    Returns:
        Host block, attention block (by its YAML name) and place (``None`` if not given), or ``None`` if the name does
        not have this form.

    Raises:
        YoloAttnError: If the name has this form, but one of its parts is unknown.
    """
    rest, at, place = name.partition("@")
    cuts = [(rest[:i], rest[i + 1 :]) for i, letter in enumerate(rest) if letter == "_"]
    cuts += [(rest[:i], rest[i:]) for i in range(1, len(rest)) if is_known(rest[i:])]  # such as C3CBAM
    found = [(h, b) for h, b in cuts if is_module(h, host)]
    if not found or is_known(name) or hasattr(host, name):
        return None
    block = next((b for _, b in found if is_known(b)), None)
    if block is None:
        raise like(KeyError, f"'{name}': {unknown_block(found[0][1])}")
    outer = next(h for h, b in found if b == block)
    if at and place not in POSITIONS:
        raise like(KeyError, f"'{name}': {one_of('place', place, POSITIONS)}")
    if returns_no_map(outer, host):
        raise YoloAttnError(f"'{name}': {outer} does not return one feature map that a block could gate")
    return outer, canonical(block), place or None


def place_of(outer: str, block: str, stated: str | None) -> str | None:
    """Return the place of a block in a host block: as stated, or where public model YAMLs have it.

    ``None`` is the usual place, which depends on the built host.
    """
    return stated or getattr(resolve(block)[1], "places", {}).get(outer)


def returns_no_map(name: str, host: ModuleType) -> bool:
    """Tell whether the result of a host module is no feature map that a block could read or gate."""
    return name in NOT_ONE_MAP or getattr(getattr(host, name, None), "__module__", "").endswith(".head")


def is_module(name: str, host: ModuleType) -> bool:
    """Tell whether the parser has a module class of this name."""
    from torch import nn

    held = vars(host).get(name)
    return isinstance(held, type) and issubclass(held, nn.Module) and not name.startswith(PREFIX)


def is_callable_row(name: str, host: ModuleType) -> bool:
    """Tell whether the parser has a module class, or a function of the user's that makes one, under this name.

    Functions that Ultralytics uses itself are none: a model YAML could have them do anything.
    """
    from torch import nn

    held = None if name.startswith(PREFIX) else vars(host).get(name)
    while isinstance(held, functools.partial):
        held = held.func
    if isinstance(held, type):
        return issubclass(held, nn.Module)
    package = (getattr(inspect.unwrap(held), "__module__", None) or "").partition(".")[0] if callable(held) else ""
    return bool(package) and package not in {"ultralytics", "torch", "torchvision", "numpy", *sys.stdlib_module_names}


def names_of(model: Any) -> Iterator[str]:
    """Yield the module name of every row of a model dict; of anything else, of as much as reads like one."""
    for section in ("backbone", "head"):
        rows = model.get(section) if isinstance(model, Mapping) else None
        for row in rows if isinstance(rows, (list, tuple)) else ():
            if isinstance(row, (list, tuple)) and len(row) > 2 and isinstance(row[2], str):
                yield row[2]


def has_attention(model: Any, host: ModuleType) -> bool:
    """Tell whether a model dict has a row of this package, or a host block that holds one of its blocks."""
    return any(means_block(name, host) or holds_block(name, host) for name in names_of(model))


def holds_block(name: str, host: ModuleType) -> bool:
    """Tell whether a row of this name is a host block with a block of this package inside, such as ``C3k2_ELA``."""
    try:
        return split_name(name, host) is not None
    except YoloAttnError as error:
        return not isinstance(error, KeyError)


def with_noted_names(model: dict[str, Any], host: ModuleType) -> dict[str, Any]:
    """Return the dict of a built model with a note of the names that meant blocks, for when it is built again."""
    own = sorted({name for name in names_of(model) if means_block(name, host) and not name.startswith(PREFIX)})
    return {**model, OWN_NAMES: own} if own else model


def with_own_names(model: Mapping[str, Any], host: ModuleType) -> Mapping[str, Any]:
    """Return a model dict in which a name that is taken is ``yolo_attn.NAME`` where it means the block.

    It does in the shipped YAMLs, and in the dict of a model that was built while the name was free.
    """
    taken = {name for name in names_of(model) if is_known(name) and not means_block(name, host)}
    own = taken if taken and _is_shipped(model) else taken.intersection(model.get(OWN_NAMES) or ())
    if not own:
        return model
    long = {name: row_key(canonical(name)) for name in own}
    rows = {
        section: [[*row[:2], long.get(row[2], row[2]), *row[3:]] for row in model[section]]
        for section in ("backbone", "head")
    }
    return {**model, **rows}


def _is_shipped(model: Mapping[str, Any]) -> bool:
    """Tell whether a model dict has the rows of the shipped YAML that it names as its file."""
    import yaml

    file = shipped_models().get(unscaled(Path(str(model.get("yaml_file"))).name))
    if file is None:
        return False
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return all(content[section] == model[section] for section in ("backbone", "head"))
