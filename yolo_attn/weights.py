"""Give a model with attention rows the weights of the model it came from, each tensor to its own row.

Ultralytics matches weights by name, and a name holds the row's number: after an inserted row every name is off by one.
Here the rows of source and target are aligned first; a view of the source with its rows in the target's order then goes
through Ultralytics' own ``load``, which takes care of another number of classes, class names and input channels.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolo_attn.errors import YoloAttnError
from yolo_attn.registry import is_attention

MIN_BACKBONE_SHARE = 0.5
"""Below this share of the backbone's parameters a source is taken for another architecture."""


@dataclass(frozen=True)
class RowReport:
    """What one row of the target received.

    Attributes:
        row: Row number in the target.
        source: Row number in the source, or ``None`` where no row corresponds.
        name: Class of the row's module.
        attention: Whether the row is a registered attention block.
        parameters: Parameters of the row.
        loaded: How many of them came from the source.
        tensors: Parameters and buffers of the row, counted as tensors.
        loaded_tensors: How many of them came from the source.
        left: Tensors that did not come over, each with the reason.
    """

    row: int
    source: int | None
    name: str
    attention: bool
    parameters: int
    loaded: int
    tensors: int
    loaded_tensors: int
    left: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """``loaded``, ``partly``, ``new`` (nothing to load from) or ``missing`` (it had a source, nothing fitted)."""
        if self.loaded_tensors == self.tensors:
            return "loaded"
        if self.loaded_tensors:
            return "partly"
        return "new" if self.source is None else "missing"

    @property
    def reason(self) -> str:
        """The first tensor that did not come over and why, and how many more there are."""
        more = f" and {len(self.left) - 1} more" if len(self.left) > 1 else ""
        return self.left[0] + more if self.left else ""

    def __str__(self) -> str:
        came_from = "-" if self.source is None else self.source
        line = f"{self.row:>4} {came_from:>5}  {self.name:<16}{self.loaded:>10}/{self.parameters:<10} {self.status}"
        return line + (f" ({self.reason})" if self.left else "")


@dataclass(frozen=True)
class TransferReport:
    """What a transfer did, by row of the target.

    Attributes:
        rows: One report per row of the target.
        dropped: Rows of the source, holding parameters, that nothing in the target corresponds to.
        source: What the weights came from, as text.
    """

    rows: tuple[RowReport, ...]
    dropped: tuple[str, ...]
    source: str

    @property
    def loaded(self) -> list[RowReport]:
        """Rows that got all of their tensors."""
        return [r for r in self.rows if r.status == "loaded" and r.tensors]

    @property
    def new(self) -> list[RowReport]:
        """Rows that have no counterpart in the source and keep their initial values."""
        return [r for r in self.rows if r.status == "new" and r.tensors]

    @property
    def missing(self) -> list[RowReport]:
        """Rows that have a counterpart, of which not every tensor could come over."""
        return [r for r in self.rows if r.status in ("partly", "missing")]

    def summary(self) -> str:
        """Say in one line how many rows, parameters and tensors came over."""
        base = [r for r in self.rows if not r.attention and r.tensors]
        attention = [r for r in self.rows if r.attention]
        parts = [
            f"{self.source}: {sum(r.status == 'loaded' for r in base)} of {len(base)} base rows, "
            f"{sum(r.loaded for r in base):,} of {sum(r.parameters for r in base):,} parameters, "
            f"{sum(r.loaded_tensors for r in base)} of {sum(r.tensors for r in base)} tensors transferred"
        ]
        if fresh := [r for r in attention if r.status == "new"]:
            parts.append(f"{len(fresh)} new attention rows with {sum(r.parameters for r in fresh):,} parameters")
        if kept := [r for r in attention if r.status == "loaded"]:
            parts.append(f"{len(kept)} attention rows transferred")
        if self.missing:
            parts.append(f"not fully: row {', '.join(str(r.row) for r in self.missing)} ({self.missing[0].reason})")
        if self.dropped:
            parts.append(f"dropped from the source: {', '.join(self.dropped)}")
        return "; ".join(parts)

    def __str__(self) -> str:
        head = f"{'row':>4} {'from':>5}  {'module':<16}{'loaded':>10}/{'parameters':<10} status"
        return "\n".join([head, *map(str, self.rows), self.summary()])


def transfer_weights(model: nn.Module, source: str | Path | Mapping[str, Any] | nn.Module) -> TransferReport:
    """Load a source's weights into a model, each row's into the row that corresponds to it.

    Args:
        model: A built YOLO model (``YOLO(...)`` or its ``.model``), with or without attention rows. Changed in place.
        source: A checkpoint's path, a loaded checkpoint, or a model; with or without attention rows.

    Returns:
        What came over, by row.

    Raises:
        YoloAttnError: If the source cannot be read, or is of another architecture or scale: less than half of the
            backbone's parameters would find a layer of the same type and shape. Nothing is changed then.

    Examples:
        >>> import yolo_attn as ya
        >>> base, attention = ya.YOLO("yolo11n.yaml"), ya.YOLO("yolo11n-ela.yaml")
        >>> report = ya.transfer_weights(attention, base)
        >>> len(report.new), len(report.missing)
        (3, 0)
    """
    model, giver = _yolo_model(model), open_source(source)
    label = _label(source, giver)
    pairs = align_rows(giver, model)
    aligned = _in_target_order(giver, pairs)
    _refuse_other_architecture(aligned, model, label)
    model.load(aligned, verbose=False)
    rows = tuple(_report_row(i, pair, aligned.model[i], model.model[i]) for i, pair in enumerate(pairs))
    used = set(pairs)
    dropped = [f"row {i} {_type_name(m)}" for i, m in enumerate(giver.model) if i not in used and m.state_dict()]
    return TransferReport(rows, tuple(dropped), label)


def check_source(model: nn.Module, source: str | Path | Mapping[str, Any] | nn.Module) -> None:
    """Raise what ``transfer_weights`` would raise, and change nothing."""
    model, giver = _yolo_model(model), open_source(source)
    _refuse_other_architecture(_in_target_order(giver, align_rows(giver, model)), model, _label(source, giver))


def open_source(source: str | Path | Mapping[str, Any] | nn.Module) -> nn.Module:
    """Return the model that a checkpoint path, a loaded checkpoint or a model stands for.

    Raises:
        YoloAttnError: If the file is missing or unreadable, or holds no YOLO model.
    """
    if isinstance(source, Mapping):
        source = source.get("ema") or source.get("model")
    if not isinstance(source, (str, Path)):
        return _yolo_model(source)
    if not str(source).lower().endswith(".pt"):
        raise YoloAttnError(f"weights '{source}' are not a .pt checkpoint")
    from ultralytics import YOLO

    try:
        return _yolo_model(YOLO(str(source)))
    except FileNotFoundError as error:
        raise YoloAttnError(f"no weights at '{source}'") from error
    except (TypeError, RuntimeError, EOFError, KeyError, AttributeError, OSError, ConnectionError) as error:
        raise YoloAttnError(f"weights '{source}' cannot be read: {_first_line(error)}") from error


def align_rows(source: nn.Module, target: nn.Module) -> list[int | None]:
    """Find for each row of the target the row of the source that plays the same part.

    Rows other than attention are matched by the sequence of their types, where it is the same in both models, else
    by the longest runs of equal types and shapes. An attention row is matched with one of its own type that follows
    the same row.

    Args:
        source: The model that gives its weights.
        target: The model that takes them.

    Returns:
        Per row of the target a row of the source, or ``None``.
    """
    mine, theirs = _base_rows(target), _base_rows(source)
    types = [[_type_name(m.model[i]) for i in rows] for m, rows in ((target, mine), (source, theirs))]
    if types[0] == types[1]:
        match = dict(zip(mine, theirs, strict=True))
    else:
        signatures = [[_signature(m.model[i]) for i in rows] for m, rows in ((source, theirs), (target, mine))]
        blocks = difflib.SequenceMatcher(None, *signatures, autojunk=False).get_matching_blocks()
        match = {mine[b.b + k]: theirs[b.a + k] for b in blocks for k in range(b.size)}
        if types[0][-1] == types[1][-1]:  # the head, whose shapes depend on the number of classes
            match[mine[-1]] = theirs[-1]
    attention = {_place(source, i): i for i in range(len(source.model)) if is_attention(source.model[i])}
    back = {s: t for t, s in match.items()}
    by_target_place = {(back.get(after), *rest): i for (after, *rest), i in attention.items() if after in back}
    for i in range(len(target.model)):
        if is_attention(target.model[i]):
            match[i] = by_target_place.get(_place(target, i))
    return [match.get(i) for i in range(len(target.model))]


def _place(model: nn.Module, i: int) -> tuple[int, int, str]:
    """Return where an attention row stands: the base row before it, how many attention rows between, its type."""
    before = i
    while before > 0 and is_attention(model.model[before]):
        before -= 1
    return before, i - before, _type_name(model.model[i])


def _base_rows(model: nn.Module) -> list[int]:
    return [i for i, layer in enumerate(model.model) if not is_attention(layer)]


def _in_target_order(source: nn.Module, pairs: Sequence[int | None]) -> nn.Module:
    """Return a view of the source whose rows stand where the target has them; gaps are rows without weights."""
    aligned = copy.copy(source)
    aligned._modules = dict(source._modules)
    aligned.model = nn.Sequential(*(nn.Identity() if s is None else source.model[s] for s in pairs))
    return aligned


def _refuse_other_architecture(aligned: nn.Module, model: nn.Module, label: str) -> None:
    backbone = len(model.yaml["backbone"])
    wanted = fitting = 0
    for layer, given in list(zip(model.model, aligned.model, strict=True))[:backbone]:
        if is_attention(layer):
            continue
        state = given.state_dict()
        for key, p in layer.named_parameters():
            wanted += p.numel()
            fitting += p.numel() if key in state and state[key].shape == p.shape else 0
    if wanted and fitting < MIN_BACKBONE_SHARE * wanted:
        raise YoloAttnError(
            f"weights '{label}' belong to another architecture or scale: only {fitting / wanted:.0%} of this model's "
            f"backbone would find a layer of the same type and shape. Give weights of the same family and scale, e.g. "
            f"yolo11n.pt for yolo11n-ela.yaml"
        )


def _report_row(row: int, source: int | None, given: nn.Module, layer: nn.Module) -> RowReport:
    state = given.state_dict() if source is not None else {}
    left, loaded, loaded_tensors = [], 0, 0
    parameters = dict(layer.named_parameters())
    for key, tensor in layer.state_dict().items():
        if key in state and state[key].shape == tensor.shape and torch.equal(state[key].to(tensor), tensor):
            loaded_tensors += 1
            loaded += tensor.numel() if key in parameters else 0
        elif source is not None:
            left.append(f"{key}: {_difference(state.get(key), tensor)}")
    return RowReport(
        row=row,
        source=source,
        name=_type_name(layer),
        attention=is_attention(layer),
        parameters=sum(p.numel() for p in parameters.values()),
        loaded=loaded,
        tensors=len(layer.state_dict()),
        loaded_tensors=loaded_tensors,
        left=tuple(left),
    )


def _difference(given: torch.Tensor | None, taken: torch.Tensor) -> str:
    if given is None:
        return "not in the source"
    if given.shape == taken.shape:
        return "classes in another order, matched by name"
    return f"{tuple(given.shape)} in the source, {tuple(taken.shape)} here"


def _yolo_model(given: Any) -> nn.Module:
    model = given
    while not isinstance(getattr(model, "model", None), nn.Sequential):  # YOLO(...) holds a model that holds the rows
        model = getattr(model, "model", None)
        if not isinstance(model, nn.Module):
            raise YoloAttnError(f"{type(given).__name__} holds no YOLO model built of rows")
    return model


def _type_name(layer: nn.Module) -> str:
    if isinstance(layer, nn.Sequential) and len(layer):
        return f"{len(layer)}x{type(layer[0]).__name__}"
    return type(layer).__name__


def _signature(layer: nn.Module) -> tuple[str, tuple[tuple[int, ...], ...]]:
    return _type_name(layer), tuple(tuple(t.shape) for t in layer.state_dict().values())


def _label(source: Any, giver: nn.Module) -> str:
    return str(source) if isinstance(source, (str, Path)) else str(getattr(giver, "pt_path", None) or "given weights")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
