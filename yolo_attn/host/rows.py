"""Check the rows of a model YAML, and prepare rows with attention for Ultralytics' parser.

The parser looks up a row's name among its globals and calls that class with the row's arguments; an argument that
names one of the parser's local variables is replaced by its value. A block's row therefore gets the arguments ``"ch"``
(output channels of all rows so far), ``"f"`` (the row's ``from``) and its checked hyper-parameters, and its name refers
to a *row class*, which builds the block from them.

A row such as ``C3k2_ELA`` is passed to the parser as a plain ``C3k2`` row, so that Ultralytics' scaling rules apply.
One row is appended for the parser only: it receives ``"layers"`` and ``"ch"``, and puts the blocks inside the layers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like, one_of, shorten
from yolo_attn.host.channel_counts import WrittenWidths
from yolo_attn.host.hyper import bind
from yolo_attn.host.registry import PREFIX, resolve, unknown_block
from yolo_attn.host.row_arguments import depends_on_channels
from yolo_attn.host.row_classes import InsideArguments, RowArguments, RowSpec
from yolo_attn.host.row_names import (
    INSIDE_KEY,
    POSITIONS,
    holds_block,
    is_callable_row,
    is_module,
    means_block,
    place_of,
    returns_no_map,
    row_key,
    split_name,
)
from yolo_attn.host.said import say_once
from yolo_attn.util.lists import as_list

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

MOST_REPEATS = 100
_ACTIVATION = re.compile(r"(torch\.)?nn\.(modules\.\w+\.)?[A-Za-z]\w*")


def prepare_rows(model: Mapping[str, Any], host: ModuleType) -> tuple[dict[str, Any], bool]:
    """Check the rows of a model dict, and convert rows of registered blocks to a form that the parser can build.

    Args:
        model: A model YAML's content.
        host: ``ultralytics.nn.tasks``, whose globals name every other module.

    Returns:
        The model dict for the parser, and whether a row was appended that is not part of the model.

    Raises:
        YoloAttnError: If it is not a model, or a row has an unknown module, a source that does not exist, or
            hyper-parameters that its block does not take.
    """
    if not isinstance(model, Mapping) or not {"backbone", "head"} <= set(model):
        raise like(KeyError, "not a model: a model YAML has the lists 'backbone' and 'head'")
    _check_settings(model)
    prepared, index, written = {**model}, 0, WrittenWidths(model)
    gated: dict[int, RowSpec] = {}
    names: list[str] = []
    for section in ("backbone", "head"):
        rows = []
        for row in _listed(model, section):
            _check_row(index, row)
            if parts := _split(index, row, host):
                row, gated[index] = _host_row(index, row, parts)
            if parts or means_block(row[2], host):
                _check_source(index, row, names, host)
            names.append(row[2])
            rows.append(_prepare_row(index, row, host, written))
            index += 1
        prepared[section] = rows
    if gated:
        prepared["head"].append([-1, 1, INSIDE_KEY, InsideArguments(["layers", "ch", gated])])
    return prepared, bool(gated)


def check_head(model: Mapping[str, Any], host: ModuleType, file: object) -> None:
    """Make sure that the last row, which Ultralytics takes for the head, is neither attention nor unknown.

    Args:
        model: The content of a model YAML with attention.
        host: ``ultralytics.nn.tasks``.
        file: The YAML, as given.

    Raises:
        YoloAttnError: If it is, or the model has no 'backbone' or 'head'.
    """
    if not {"backbone", "head"} <= set(model):
        raise like(KeyError, f"'{file}' is not a model YAML: it has no 'backbone' and 'head'")
    (*_, last) = [None, *_listed(model, "backbone"), *_listed(model, "head")]
    name = last[2] if isinstance(last, (list, tuple)) and len(last) == 4 and isinstance(last[2], str) else ""
    if means_block(name, host) or holds_block(name, host):
        raise YoloAttnError(f"'{file}': the last row, {name}, is attention; it has to be a head such as Detect")
    if name and not is_host_row(name, host):
        heads = [held for held in _host_modules(host) if returns_no_map(held, host)]
        raise like(NotImplementedError, f"'{file}': the last row: {one_of('head', name, heads)}")


def _listed(model: Mapping[str, Any], section: str) -> Sequence[Any]:
    rows = model[section] or []
    if not isinstance(rows, (list, tuple)):
        raise YoloAttnError(f"not a model: '{section}' is {shorten(rows)}, not a list of rows")
    return rows


def _check_settings(model: Mapping[str, Any]) -> None:
    scales, scale = model.get("scales"), model.get("scale")
    if scales and not isinstance(scales, Mapping):
        raise YoloAttnError(f"scales: {shorten(scales)} is not a mapping, e.g. {{n: [0.5, 0.25, 1024]}}")
    if scales and scale and scale not in scales:
        raise like(KeyError, f"{one_of('scale', scale, scales)} (the file's name states it, or `scales` lacks it)")
    if (activation := model.get("activation")) and not _is_activation(activation):
        raise YoloAttnError(
            f"activation: {shorten(activation)} is not allowed, because Ultralytics evaluates it as Python; give a "
            f"class of torch.nn with plain arguments, e.g. nn.ReLU() or torch.nn.LeakyReLU(0.1)"
        )


def _is_activation(given: Any) -> bool:
    try:
        call = ast.parse(given.strip(), mode="eval").body
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
        return bool(_ACTIVATION.fullmatch(ast.unparse(call.func)))
    except (AttributeError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _label(index: int, row: Any) -> str:
    return f"row {index} {row}"


def _check_row(index: int, row: Any) -> None:
    if not isinstance(row, (list, tuple)) or len(row) != 4 or not isinstance(row[2], str):
        raise YoloAttnError(f"{_label(index, row)}: a row is [from, repeats, module, [arguments]]")
    for f in as_list(row[0]):
        if type(f) is not int or not (-max(index, 1) <= f < max(index, 1)) or (index == 0 and f != -1):
            before = f"0 to {index - 1}, or -1 to -{index} counted back" if index else "none, so only -1 (the image)"
            raise like(IndexError, f"{_label(index, row)}: 'from' {f!r} does not exist; rows before it are {before}")


def _check_repeats(index: int, row: Any) -> None:
    if type(row[1]) is not int or not 1 <= row[1] <= MOST_REPEATS:
        raise YoloAttnError(f"{_label(index, row)}: repeats={row[1]!r} is not a whole number from 1 to {MOST_REPEATS}")


def _check_source(index: int, row: Any, names: Sequence[str], host: ModuleType) -> None:
    for f in as_list(row[0]):
        source = f if f >= 0 else index + f
        if source >= 0 and returns_no_map(names[source], host):
            raise YoloAttnError(f"{_label(index, row)}: row {source}, {names[source]}, gives no feature map to read")


def _split(index: int, row: list[Any], host: ModuleType) -> tuple[str, str, str | None] | None:
    try:
        return split_name(row[2], host)
    except YoloAttnError as error:
        raise like(error, f"{_label(index, row)}: {error}") from error


def _host_row(index: int, row: list[Any], parts: tuple[str, str, str | None]) -> tuple[list[Any], RowSpec]:
    """Return the plain host row and the spec of the block inside it; a mapping as last argument is the block's."""
    _check_repeats(index, row)
    (source, repeats, _, args), (outer, name, place) = row, parts
    args, hyper = as_list(args), {}
    if args and isinstance(args[-1], Mapping):
        hyper = dict(args.pop())
    stated = hyper.pop("place", None)
    if stated not in (None, *POSITIONS):
        raise YoloAttnError(f"{_label(index, row)}: {one_of('place', stated, POSITIONS)}")
    if stated and place and stated != place:
        raise YoloAttnError(f"{_label(index, row)}: @{place} in the name, place: {stated} in the arguments")
    name, cls = resolve(name)
    place = place_of(outer, name, place or stated)
    spec = RowSpec(_label(index, row), name, cls, _bind(index, row, cls, [hyper]), place)
    return [source, repeats, outer, args], spec


def _bind(index: int, row: list[Any], cls: type[nn.Module], args: Sequence[Any]) -> dict[str, Any]:
    try:
        return bind(cls, args)
    except YoloAttnError as error:
        raise YoloAttnError(f"{_label(index, row)}: {error}") from error


def _prepare_row(index: int, row: list[Any], host: ModuleType, written: WrittenWidths) -> list[Any]:
    source, repeats, name, args = row
    if not means_block(name, host):
        if not is_host_row(name, host):
            raise like(KeyError, f"{_label(index, row)}: {unknown_block(name, also=_host_modules(host))}")
        return [source, repeats, name, _without_anchors(index, row)]
    _check_repeats(index, row)
    called, (name, cls) = name.removeprefix(PREFIX), resolve(name)
    if not isinstance(source, int):
        raise YoloAttnError(f"{_label(index, row)}: {name} reads one row, 'from' is {source}; concatenate first")
    args = as_list(args)
    if depends_on_channels(cls, args):
        spec = RowSpec(_label(index, row), name, cls, {}, None, index, called, tuple(args), written)
    else:
        spec = RowSpec(_label(index, row), name, cls, _bind(index, row, cls, args))
    return [source, repeats, row_key(name), RowArguments(["ch", "f", spec])]


def _without_anchors(index: int, row: list[Any]) -> Any:
    """Return a row's arguments without ``anchors``, which heads of the YOLOv5 repository have, and none has here."""
    args = row[3]
    if not isinstance(args, (list, tuple)) or "anchors" not in args:
        return args
    say_once(f"{_label(index, row)}: the head has no anchors; they are left out")
    return [given for given in args if given != "anchors"]


def is_host_row(name: str, host: ModuleType) -> bool:
    """Tell whether the parser has a module of this name that is no block of this package."""
    from torch import nn

    of_torch = name.startswith("nn.") and isinstance(getattr(nn, name[3:], None), type)
    return of_torch or name.startswith("torchvision.ops.") or is_callable_row(name, host)


def _host_modules(host: ModuleType) -> list[str]:
    return [name for name in vars(host) if is_module(name, host)]
