"""Check the rows of a model YAML and put those of registered blocks into the form Ultralytics' parser can build.

The parser calls the class it finds under a row's name with the row's arguments; an argument that is the name of one of
the parser's local variables is replaced by that variable. So a block's row gets the arguments ``"ch"`` (the widths of
all rows so far), ``"f"`` (the row's ``from``) and its checked hyper-parameters, and its name leads to a *row class*
that makes the block out of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.registry import build, is_known, resolve, unknown_block
from yolo_attn.schema import bind

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn


class _RowArguments(list):
    """A row's arguments as the parser sees them: ``"ch"``, ``"f"`` (which it replaces) and the block's own."""

    def __str__(self) -> str:  # what the parser prints in its table
        widths, source, spec = self
        return "[" + ", ".join([str(widths[source]), *(f"{k}={v!r}" for k, v in spec.hyper.items())]) + "]"


class _RowSpec:
    """The checked hyper-parameters of one row, and how to name the row in an error."""

    def __init__(self, label: str, hyper: dict[str, Any]):
        self.label, self.hyper = label, hyper


def row_class(name: str, cls: type[nn.Module]) -> type:
    """Return the class the parser calls for a row; what it makes is the block itself."""
    from torch import nn

    def new(_, widths: list[int], source: int, spec: _RowSpec) -> nn.Module:
        channels = widths[source]
        block = build(cls, channels, spec.hyper, f"{spec.label}: {name} for {channels} channels")
        if not cls.__module__.startswith("yolo_attn.blocks."):
            _check_keeps_shape(block, channels, spec.label)
        return block

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__new__": new, "block_class": cls}
    return type(cls.__name__, (nn.Module,), names)


def is_row_class(obj: object) -> bool:
    """Tell whether something found in the host is one of the classes made by ``row_class``."""
    return isinstance(obj, type) and "block_class" in vars(obj)


def row_key(host: ModuleType, name: str) -> str:
    """Return the global under which a block's row class stands in the host; not one of the host's own classes."""
    held = getattr(host, name, None)
    return name if held is None or is_row_class(held) else f"yolo_attn.{name}"


def _check_keeps_shape(block: nn.Module, channels: int, label: str) -> None:
    import torch

    x = torch.zeros(1, channels, 16, 16)
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


def prepare_rows(model: Mapping[str, Any], host: ModuleType) -> dict[str, Any]:
    """Check a model dict's rows and put those of registered blocks into the form the parser can build.

    Args:
        model: A model YAML's content.
        host: ``ultralytics.nn.tasks``, whose globals name every other module.

    Raises:
        YoloAttnError: If it is not a model, or a row names an unknown module, a source that does not exist, or
            hyper-parameters its block does not take.
    """
    if not isinstance(model, Mapping) or not {"backbone", "head"} <= set(model):
        raise YoloAttnError("not a model: a model YAML has the lists 'backbone' and 'head'")
    prepared, index = {**model}, 0
    for section in ("backbone", "head"):
        rows = []
        for row in model[section] or []:
            rows.append(_prepare_row(index, row, host))
            index += 1
        prepared[section] = rows
    return prepared


def _prepare_row(index: int, row: Any, host: ModuleType) -> list[Any]:
    if not isinstance(row, (list, tuple)) or len(row) != 4 or not isinstance(row[2], str):
        raise YoloAttnError(f"row {index} {row}: a row is [from, repeats, module, [arguments]]")
    source, repeats, name, args = row
    label = f"row {index} {row}"
    for f in source if isinstance(source, (list, tuple)) else [source]:
        if not isinstance(f, int) or not (-max(index, 1) <= f < max(index, 1)) or (index == 0 and f != -1):
            raise YoloAttnError(
                f"{label}: 'from' {f} does not exist; rows before it are "
                + (f"0 to {index - 1}, or -1 to -{index} counted back" if index else "none, so only -1 (the image)")
            )
    if not is_known(name):
        if not (name.startswith(("nn.", "torchvision.ops.")) or hasattr(host, name)):
            raise YoloAttnError(f"{label}: {unknown_block(name, also=_host_modules(host))}")
        return list(row)
    name, cls = resolve(name)
    if not isinstance(source, int):
        raise YoloAttnError(f"{label}: {name} reads one row, 'from' is {source}; concatenate first")
    try:
        hyper = bind(cls, args if isinstance(args, (list, tuple)) else [args])
    except YoloAttnError as error:
        raise YoloAttnError(f"{label}: {error}") from error
    return [source, repeats, row_key(host, name), _RowArguments(["ch", "f", _RowSpec(label, hyper)])]


def _host_modules(host: ModuleType) -> list[str]:
    from torch import nn

    return [n for n, v in vars(host).items() if isinstance(v, type) and issubclass(v, nn.Module)]
