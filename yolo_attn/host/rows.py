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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, one_of, shorten
from yolo_attn.host.hyper import bind
from yolo_attn.host.registry import build, is_known, resolve, unknown_block

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

INSIDE_KEY = "yolo_attn.Inside"
"""Module name of the appended row that puts blocks inside host layers, a global of Ultralytics' parser."""

POSITIONS = ("inner", "outer")
NOT_ONE_MAP = ("CBLinear", "ImagePoolingAttn", "TorchVision", "Index")  # hosts that do not return one feature map
MOST_REPEATS = 100
_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z]\w*")


@dataclass(frozen=True)
class _RowSpec:
    """The checked block of one row, and the label of the row in error messages."""

    label: str
    name: str
    cls: type[nn.Module]
    hyper: dict[str, Any]
    place: str | None = None

    def build(self, channels: int) -> nn.Module:
        block = build(self.cls, channels, self.hyper, f"{self.label}: {self.name} for {channels} channels")
        if not self.cls.__module__.startswith("yolo_attn.blocks."):
            _check_keeps_shape(block, channels, self.label)
        return block


class _RowArguments(list):
    """Arguments of a block's row: ``"ch"`` and ``"f"``, which the parser replaces by their values, and the row spec."""

    def __str__(self) -> str:  # as the parser prints them in its table
        widths, source, spec = self
        return "[" + ", ".join([str(widths[source]), *(f"{k}={v!r}" for k, v in spec.hyper.items())]) + "]"


class _InsideArguments(list):
    """Arguments of the appended row: ``"layers"``, ``"ch"`` and the row specs by row number."""

    def __str__(self) -> str:
        specs = self[2]
        names = ", ".join(dict.fromkeys(spec.name for spec in specs.values()))
        return f"[{names} inside rows {', '.join(map(str, specs))}]"


def row_class(name: str, cls: type[nn.Module]) -> type:
    """Return the class that the parser calls for a row; its ``__new__`` returns the block itself."""
    from torch import nn

    def new(_, widths: list[int], source: int, spec: _RowSpec) -> nn.Module:
        return spec.build(widths[source])

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__new__": new, "block_class": cls}
    return type(cls.__name__, (nn.Module,), names)


def inside_class() -> type:
    """Return the class that the parser calls for the appended row, to put blocks inside the layers built so far."""
    from torch import nn

    from yolo_attn.host import gated

    def new(_, layers: list[nn.Module], widths: list[int], specs: Mapping[int, _RowSpec]) -> nn.Module:
        made = []
        for i, spec in specs.items():
            try:
                made += gated.attach(layers[i], spec.place, widths[i], spec.build)
            except Exception as error:  # e.g. a host whose arguments build but cannot run
                text = str(error)
                raise YoloAttnError(text if text.startswith("row ") else f"{spec.label}: {text}") from error
            layer: Any = layers[i]
            layer.np = sum(p.numel() for p in layer.parameters())  # the parser counted before the block was added
        return nn.ModuleList(made)

    return type("Inside", (nn.Module,), {"__module__": "yolo_attn.host.rows", "__new__": new})


def is_row_class(obj: object) -> bool:
    """Tell whether an object is a class made by ``row_class``."""
    return isinstance(obj, type) and "block_class" in vars(obj)


def row_key(host: ModuleType, name: str) -> str:
    """Return the global of Ultralytics' parser for a block's row class; never that of a class of Ultralytics."""
    held = getattr(host, name, None)
    return name if held is None or is_row_class(held) else f"yolo_attn.{name}"


def _check_keeps_shape(block: nn.Module, channels: int, label: str) -> None:
    import torch

    x = torch.zeros(1, channels, 16, 16)
    if x.is_meta:  # built for its shapes only; a block may depend on values
        return
    training = block.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            y = block.eval()(x)
    except Exception as error:
        raise YoloAttnError(f"{label}: {type(block).__name__} cannot run on {tuple(x.shape)}: {error}") from error
    block.train(training)
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        made = tuple(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
        raise YoloAttnError(
            f"{label}: {type(block).__name__} turned {tuple(x.shape)} into {made}; a block must keep its input's shape"
        )


def split_name(name: str, host: ModuleType) -> tuple[str, str, str | None] | None:
    """Split a module name such as ``C3k2_ELA@inner`` into its parts.

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
    found = [(h, b) for h, b in cuts if _is_module(host, h)]
    if not found or is_known(name) or hasattr(host, name):
        return None
    block = next((b for _, b in found if is_known(b)), None)
    if block is None:
        raise YoloAttnError(f"'{name}': {unknown_block(found[0][1])}")
    outer = next(h for h, b in found if b == block)
    if at and place not in POSITIONS:
        raise YoloAttnError(f"'{name}': {one_of('place', place, POSITIONS)}")
    if _returns_no_map(outer, host):
        raise YoloAttnError(f"'{name}': {outer} does not return one feature map that a block could gate")
    return outer, resolve(block)[0], place or None


def _returns_no_map(name: str, host: ModuleType) -> bool:
    return name in NOT_ONE_MAP or getattr(getattr(host, name, None), "__module__", "").endswith(".head")


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
        raise YoloAttnError("not a model: a model YAML has the lists 'backbone' and 'head'")
    _check_settings(model)
    prepared, index = {**model}, 0
    gated: dict[int, _RowSpec] = {}
    names: list[str] = []
    for section in ("backbone", "head"):
        rows = []
        for row in _listed(model, section):
            _check_row(index, row)
            if parts := _split(index, row, host):
                row, gated[index] = _host_row(index, row, parts)
            if parts or is_known(row[2]):
                _check_source(index, row, names, host)
            names.append(row[2])
            rows.append(_prepare_row(index, row, host))
            index += 1
        prepared[section] = rows
    if gated:
        prepared["head"].append([-1, 1, INSIDE_KEY, _InsideArguments(["layers", "ch", gated])])
    return prepared, bool(gated)


def has_attention(prepared: Mapping[str, Any]) -> bool:
    """Tell whether a prepared model dict has a row with attention."""
    arguments = [row[3] for section in ("backbone", "head") for row in prepared[section]]
    return any(isinstance(given, (_RowArguments, _InsideArguments)) for given in arguments)


def refuse_without_head(model: Mapping[str, Any], host: ModuleType, file: object) -> None:
    """Raise an error if the last row is attention: Ultralytics takes the last row for the head.

    Raises:
        YoloAttnError: If it does.
    """
    (*_, last) = [None, *_listed(model, "backbone"), *_listed(model, "head")]
    name = last[2] if isinstance(last, (list, tuple)) and len(last) == 4 and isinstance(last[2], str) else ""
    if is_known(name) or split_name(name, host):
        raise YoloAttnError(f"'{file}': the last row, {name}, is attention; it has to be a head such as Detect")


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
        raise YoloAttnError(f"{one_of('scale', scale, scales)} (the file's name states it, or `scales` lacks it)")
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
    for f in row[0] if isinstance(row[0], (list, tuple)) else [row[0]]:
        if type(f) is not int or not (-max(index, 1) <= f < max(index, 1)) or (index == 0 and f != -1):
            raise YoloAttnError(
                f"{_label(index, row)}: 'from' {f!r} does not exist; rows before it are "
                + (f"0 to {index - 1}, or -1 to -{index} counted back" if index else "none, so only -1 (the image)")
            )


def _check_repeats(index: int, row: Any) -> None:
    if type(row[1]) is not int or not 1 <= row[1] <= MOST_REPEATS:
        raise YoloAttnError(f"{_label(index, row)}: repeats={row[1]!r} is not a whole number from 1 to {MOST_REPEATS}")


def _check_source(index: int, row: Any, names: Sequence[str], host: ModuleType) -> None:
    for f in row[0] if isinstance(row[0], (list, tuple)) else [row[0]]:
        source = f if f >= 0 else index + f
        if source >= 0 and _returns_no_map(names[source], host):
            raise YoloAttnError(f"{_label(index, row)}: row {source}, {names[source]}, gives no feature map to read")


def _split(index: int, row: list[Any], host: ModuleType) -> tuple[str, str, str | None] | None:
    try:
        return split_name(row[2], host)
    except YoloAttnError as error:
        raise YoloAttnError(f"{_label(index, row)}: {error}") from error


def _host_row(index: int, row: list[Any], parts: tuple[str, str, str | None]) -> tuple[list[Any], _RowSpec]:
    """Return the plain host row and the spec of the block inside it; a mapping as last argument is the block's."""
    _check_repeats(index, row)
    (source, repeats, _, args), (outer, name, place) = row, parts
    args, hyper = list(args) if isinstance(args, (list, tuple)) else [args], {}
    if args and isinstance(args[-1], Mapping):
        hyper = dict(args.pop())
    stated = hyper.pop("place", None)
    if stated not in (None, *POSITIONS):
        raise YoloAttnError(f"{_label(index, row)}: {one_of('place', stated, POSITIONS)}")
    if stated and place and stated != place:
        raise YoloAttnError(f"{_label(index, row)}: @{place} in the name, place: {stated} in the arguments")
    name, cls = resolve(name)
    spec = _RowSpec(_label(index, row), name, cls, _bind(index, row, cls, [hyper]), place or stated)
    return [source, repeats, outer, args], spec


def _bind(index: int, row: list[Any], cls: type[nn.Module], args: Sequence[Any]) -> dict[str, Any]:
    try:
        return bind(cls, args)
    except YoloAttnError as error:
        raise YoloAttnError(f"{_label(index, row)}: {error}") from error


def _prepare_row(index: int, row: list[Any], host: ModuleType) -> list[Any]:
    source, repeats, name, args = row
    if not is_known(name):
        if not (_is_module(host, name) or name.startswith("torchvision.ops.") or _is_torch_module(name)):
            raise YoloAttnError(f"{_label(index, row)}: {unknown_block(name, also=_host_modules(host))}")
        return list(row)
    _check_repeats(index, row)
    name, cls = resolve(name)
    if not isinstance(source, int):
        raise YoloAttnError(f"{_label(index, row)}: {name} reads one row, 'from' is {source}; concatenate first")
    hyper = _bind(index, row, cls, args if isinstance(args, (list, tuple)) else [args])
    spec = _RowSpec(_label(index, row), name, cls, hyper)
    return [source, repeats, row_key(host, name), _RowArguments(["ch", "f", spec])]


def _is_torch_module(name: str) -> bool:
    from torch import nn

    return name.startswith("nn.") and isinstance(getattr(nn, name[3:], None), type)


def _host_modules(host: ModuleType) -> list[str]:
    return [name for name in vars(host) if _is_module(host, name)]


def _is_module(host: ModuleType, name: str) -> bool:
    from torch import nn

    held = getattr(host, name, None)
    return isinstance(held, type) and issubclass(held, nn.Module) and not is_row_class(held)
