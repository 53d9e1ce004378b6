"""Find the layers to freeze so that only attention trains: all that received pretrained weights.

Layers that the weights did not fill, e.g. the class layers of another number of classes, are random and train too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host.gated import blocks_inside
from yolo_attn.host.registry import is_attention
from yolo_attn.models.built import model_layers
from yolo_attn.util.words import literal
from yolo_attn.weights.report import TransferReport


def attention_parameters(model: nn.Module) -> set[str]:
    """Return the names of the parameters of all attention blocks of a YOLO model, rows and inside rows."""
    layers = model_layers(model)
    blocks = [f"model.{path}" for path in blocks_inside(layers)]
    blocks += [f"model.{i}" for i, row in enumerate(layers) if is_attention(row)]
    return {name for name, _ in model.named_parameters() if name.startswith(tuple(f"{b}." for b in blocks))}


def base_rows(wanted: str) -> list[int] | None:
    """Return the rows of the base that ``base:10`` or ``base:[0, 3]`` names, ``None`` for ``base``, which names none.

    Raises:
        YoloAttnError: If it is none of these.
    """
    word, colon, given = wanted.partition(":")
    rows: Any = literal(given)
    rows = list(range(rows)) if type(rows) is int and rows >= 0 else rows
    if word != "base" or (colon and not _are_rows(rows)):
        raise YoloAttnError(one_of("freeze", wanted, ["base", "base:10", "a number of layers", "their list"]))
    return rows if colon else None


def as_base_rows(wanted: object) -> object:
    """Return Ultralytics' ``freeze``, a number of rows or their list, as the same rows of the base; others as given."""
    return f"base:{wanted}" if type(wanted) is int or _are_rows(wanted) else wanted


def _are_rows(given: object) -> bool:
    return isinstance(given, list) and all(type(row) is int and row >= 0 for row in given)


def check_freeze(wanted: str, model: nn.Module, weights: bool) -> None:
    """Check a ``freeze`` argument in words.

    Args:
        wanted: The argument.
        model: A YOLO model.
        weights: Whether it has, or gets, pretrained weights.

    Raises:
        YoloAttnError: If it is neither ``base`` nor ``base:`` with rows that the base has; or, for ``base``, if the
            model has no attention, or no weights.
    """
    if (rows := base_rows(wanted)) is not None:
        last = len(_rows_of_base(model)) - 1
        if wrong := [row for row in rows if row > last]:
            raise YoloAttnError(f"freeze={wanted}: the base has no row {wrong[0]}; its rows are 0 to {last}")
        return
    if not attention_parameters(model):
        raise YoloAttnError("freeze=base trains the attention only, and this model has none: every row is its base's")
    if not weights:
        raise YoloAttnError("freeze=base keeps the base as its weights made it, so it needs some: give pretrained=...")


def base_layers(model: nn.Module, report: TransferReport) -> list[str]:
    """Return the layers that ``freeze=base`` freezes, as paths that Ultralytics' ``freeze`` takes, e.g. ``4.cv1``.

    Args:
        model: A YOLO model with attention that has its weights.
        report: How it got them.
    """
    kept = attention_parameters(model) | unfilled_parameters(report)
    return list(_largest_parts_without(model_layers(model), kept, "model."))


def _rows_of_base(model: nn.Module) -> list[int]:
    """Return the numbers of the rows that are no attention, in their order."""
    return [i for i, row in enumerate(model_layers(model)) if not is_attention(row)]


def layers_of_base_rows(model: nn.Module, rows: Iterable[int]) -> list[str]:
    """Return what to freeze of some rows of the base, as paths that Ultralytics' ``freeze`` takes.

    Attention stays free, also inside these rows.

    Args:
        model: A YOLO model.
        rows: Numbers of rows in the model without attention.
    """
    layers, base, kept = model_layers(model), _rows_of_base(model), attention_parameters(model)
    found: list[str] = []
    for i in (base[row] for row in rows):
        below = [f"model.{i}.{name}" for name, _ in layers[i].named_parameters()]
        free = any(_is_below(name, kept) for name in below)
        found += _largest_parts_without(layers[i], kept, f"model.{i}.") if free else [str(i)]
    return found


def describe_rows(wanted: str, model: nn.Module, rows: Iterable[int]) -> str:
    """Describe in one line which rows ``base:`` freezes."""
    base = _rows_of_base(model)
    here = ", ".join(str(base[row]) for row in rows)
    return f"freeze={wanted}: rows {here} are frozen, those of the base; attention trains"


def describe_attention(wanted: object, model: nn.Module) -> str:
    """Say that Ultralytics' ``freeze`` counts attention too, if a row that it freezes is or holds a block."""
    rows = range(wanted) if type(wanted) is int else wanted if isinstance(wanted, list) else ()
    kept, layers = attention_parameters(model), model_layers(model)
    held = [i for i in rows if type(i) is int and i < len(layers) and any(k.startswith(f"model.{i}.") for k in kept)]
    if not held:
        return ""
    return (
        f"freeze={wanted} counts the rows of this model, attention too: row {', '.join(map(str, held))} is frozen, or "
        f"what it holds. freeze={as_base_rows(wanted)} counts the rows of the base, and leaves attention free"
    )


def unfilled_parameters(report: TransferReport) -> set[str]:
    """Return the names of tensors outside attention which the weights did not fill."""
    left = {f"model.{r.row}.{name}" for r in report.missing if not r.attention for name in r.left}
    return left | {f"model.{r.row}" for r in report.new if not r.attention}


def describe(model: nn.Module, report: TransferReport) -> str:
    """Describe in one line how many parameters train and how many are frozen."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    attention = attention_parameters(model)
    left = unfilled_parameters(report)
    unfilled = [name for name in sizes if _is_below(name, left)]
    trained = sum(sizes[name] for name in attention)
    others = sum(sizes[name] for name in unfilled)
    text = f"freeze=base: {trained:,} parameters of attention train"
    if unfilled:
        text += f", with {others:,} of layers that the weights did not fill ({unfilled[0]}, {len(unfilled)} tensors)"
    return f"{text}; {sum(sizes.values()) - trained - others:,} are frozen"


def _largest_parts_without(module: nn.Module, kept: set[str], prefix: str) -> Iterator[str]:
    """Yield the largest parts of a module that hold parameters, none of them to be kept, by path after ``model.``."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        below = [f"{path}.{p}" for p, _ in child.named_parameters()]
        if any(_is_below(p, kept) for p in below):
            yield from _largest_parts_without(child, kept, f"{path}.")
        elif below:
            yield path.removeprefix("model.")
    for name, _ in module.named_parameters(recurse=False):
        if not _is_below(f"{prefix}{name}", kept):
            yield f"{prefix}{name}".removeprefix("model.")


def _is_below(name: str, kept: set[str]) -> bool:
    return any(name == k or name.startswith(f"{k}.") for k in kept)
