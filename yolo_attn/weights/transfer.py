"""Transfer weights into a model with attention, each tensor to its own layer.

Ultralytics matches weights by name, and a name holds the number of the layer: after an inserted layer every name is off
by one. Here the layers of source and target are aligned first. The source's tensors, renamed as in the target, then go
through Ultralytics' own ``load``, which handles another number of classes, class names and input channels. It sees the
target without the attention that the source does not have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.checkpoints import open_weights, yolo_model
from yolo_attn.host.loading import holds_attention, load_by_host, load_rows, loading_by
from yolo_attn.host.registry import row_blocks
from yolo_attn.models.built import model_layers
from yolo_attn.weights.align import Layer, State, align, layers_of, layers_of_state
from yolo_attn.weights.report import RowReport, TransferReport

MIN_BACKBONE_SHARE = 0.5
"""Least share of the backbone's parameters that must fit; a source below it is another architecture."""

MIN_BACKBONE_SHARE_OF_STATE = 0.8
"""The same for a state dict, whose layers have no known class or level and are easier to confuse."""

Source = str | Path | Mapping[str, Any] | nn.Module


def transfer_weights(model: nn.Module, source: Source, strict: bool = False) -> TransferReport:
    """Load the weights of a source into a model, layer by corresponding layer.

    ``train`` of a model that was built from a YAML begins anew, as in Ultralytics, without what was loaded here. To
    train from the weights, give them to ``YOLO.load`` or ``pretrained=``.

    Args:
        model: A built YOLO model (``YOLO(...)`` or its ``.model``), with or without attention. Changed in place.
        source: Path of a checkpoint, a loaded checkpoint, a model, or a state dict; with or without attention, of the
            same or another task or number of classes. A state dict must be of the same backbone, because its layers
            have no known class.
        strict: Raise unless every tensor of the model is loaded and every tensor of the source is used, attention that
            only one of the two has aside.

    Returns:
        The transfer by layer.

    Raises:
        YoloAttnError: If the source cannot be read; for the reasons of ``strict``; or, where one of the two has
            attention or the source is a state dict, if it is fused, or of another architecture or scale: less than half
            of the backbone's parameters have a counterpart of the same shape. The model is unchanged then. Between
            models without attention Ultralytics' rule holds: what fits is loaded.

    Examples:
        >>> import yolo_attn as ya
        >>> base, attention = ya.YOLO("yolo11n.yaml"), ya.YOLO("yolo11n-ela.yaml")
        >>> report = ya.transfer_weights(attention, base, strict=True)
        >>> len(report.new), len(report.missing)
        (3, 0)
    """
    plan = _Plan(yolo_model(model), source)
    plan.check(strict)
    return plan.load(verbose=False)


def check_source(
    model: nn.Module, source: Source, strict: bool = False, same_architecture: bool = False
) -> tuple[int, ...]:
    """Raise the errors of :func:`transfer_weights` without changing the model.

    Args:
        model: As there.
        source: As there.
        strict: As there.
        same_architecture: Whether models without attention have to be of the same architecture and scale too.

    Returns:
        Rows of new blocks that would change what the weights have learned.
    """
    plan = _Plan(yolo_model(model), source)
    plan.check(strict, same_architecture)
    return plan.changing()


@contextlib.contextmanager
def loads_by_row() -> Iterator[list[TransferReport]]:
    """Have models that Ultralytics loads in this thread get their weights by row, for the time of a ``with`` block.

    Yields:
        The reports of what has been loaded.
    """
    reports: list[TransferReport] = []

    def load(model: nn.Module, weights: Any, verbose: bool) -> None:
        try:
            plan = _Plan(model, weights)
        except YoloAttnError:
            if holds_attention(model) or not isinstance(weights, nn.Module):
                raise
            load_by_host(model, weights, verbose)  # of a module that is not built of rows
        else:
            plan.check()
            reports.append(plan.load(verbose))

    with loading_by(load):
        yield reports


def load_by_row(model: nn.Module, weights: Source, verbose: bool) -> None:
    """Load weights in place of Ultralytics' ``BaseModel.load``; what became of the layers follows its line in the log.

    Raises:
        YoloAttnError: As :func:`transfer_weights` does.
    """
    plan = _Plan(model, weights)
    plan.check()
    report = plan.load(verbose)
    if verbose:
        report.log(by_row=False)


class _Plan:
    """Plan of a transfer: the layer of the source for each layer of the target."""

    def __init__(self, model: nn.Module, source: Source):
        given = open_weights(source)
        self.model = model
        self.label = _label(source, given)
        self.from_file = isinstance(source, (str, Path))
        self.source = layers_of(given) if isinstance(given, nn.Module) else layers_of_state(given)
        self.target = layers_of(model)
        self.pairs = align(self.source, self.target)
        *base, head = self.target.base()
        self.order = [*base, *(i for i, row in enumerate(self.target.rows) if row.attention), head]

    def given(self, row: int) -> Layer | None:
        """Return the source's layer for a layer of the target."""
        source = self.pairs[row]
        return None if source is None else self.source.rows[source]

    def check(self, strict: bool = False, same_architecture: bool = False) -> None:
        holds_attention = self.source.hold_attention or self.target.hold_attention
        if same_architecture or holds_attention or self.source.model is None:
            self._refuse_fused()
            self._refuse_other_architecture()
        if not strict:
            return
        expected = self.report(loaded=False)
        reasons = [f"row {r.row} {r.name}: {r.reason or 'not in the source'}" for r in expected.unexpected]
        if reasons or expected.dropped_base:
            reasons += [f"not used: {dropped}" for dropped in expected.dropped_base]
            more = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            raise YoloAttnError(f"weights '{self.label}' do not fit strictly: {reasons[0]}{more}")

    def _refuse_fused(self) -> None:
        if _is_fused(self.source.model) and not _is_fused(self.model):
            what = f"weights '{self.label}' are" if self.from_file else f"the given model ('{self.label}') is"
            raise YoloAttnError(
                f"{what} fused for inference, as by fuse(): normalisations are folded into the convolutions and cannot "
                f"be taken apart. Give a checkpoint, or the model before fuse()"
            )

    def _refuse_other_architecture(self) -> None:
        wanted = fitting = 0
        for i in range(len(cast(Any, self.model).yaml["backbone"])):
            taken, given = self.target.rows[i], self.given(i)
            if not taken.attention:
                size = sum(t.numel() for t in taken.state.values())
                wanted += size
                fitting += size if given and taken.count_shared(given) == size else 0
        least = MIN_BACKBONE_SHARE if self.source.model is not None else MIN_BACKBONE_SHARE_OF_STATE
        if wanted and fitting < least * wanted:
            raise YoloAttnError(
                f"weights '{self.label}' belong to another architecture or scale: only {fitting / wanted:.0%} of this "
                f"model's backbone would find rows of the same kind and shapes. Give weights of the same family and "
                f"scale, e.g. yolo11n.pt for yolo11n-ela.yaml"
            )

    def load(self, verbose: bool) -> TransferReport:
        """Load the weights by Ultralytics' own code, and return what was loaded."""
        load_rows(self.model, self.order, self.hidden(), _Renamed(self), verbose)
        return self.report()

    def tensors(self) -> State:
        """Return the source's tensors, renamed as in the target with its rows in ``order``."""
        given = self.source.model.state_dict() if self.source.model is not None else {}
        named = {k: t for k, t in given.items() if not k.startswith("model.")}
        for place, i in enumerate(self.order):
            if row := self.given(i):
                inside = _same_blocks(row, self.target.rows[i])
                named |= {f"model.{place}.{k}": t for k, t in {**row.state, **inside}.items()}
        return {k: t.detach().float() for k, t in named.items()}

    def hidden(self) -> set[str]:
        """Return the names, as in :meth:`tensors`, of the target's attention tensors that the source does not have."""
        hidden: set[str] = set()
        for place, i in enumerate(self.order):
            row, given = self.target.rows[i], self.given(i)
            own = {**row.state, **row.inside} if row.attention else row.inside
            found = {**given.state, **_same_blocks(given, row)} if given else {}
            hidden |= {f"model.{place}.{k}" for k, t in own.items() if k not in found or found[k].shape != t.shape}
        return hidden

    def report(self, loaded: bool = True) -> TransferReport:
        """Return the report of the transfer; with ``loaded=False``, that of the planned transfer."""
        now = self.target if not loaded else layers_of(self.model)
        parameters = {name for name, _ in self.model.named_parameters()}
        rows = tuple(
            _row_report(i, self.pairs[i], self.given(i), row, parameters, loaded) for i, row in enumerate(now.rows)
        )
        used = set(self.pairs)
        unused = [(i, row) for i, row in enumerate(self.source.rows) if i not in used and (row.state or row.inside)]
        partners = {s: now.rows[t] for t, s in enumerate(self.pairs) if s is not None}
        inside = [
            f"{', '.join(sorted(set(row.blocks.values()))) or 'blocks'} inside row {i} {row.kind or ''}".rstrip()
            for i, row in enumerate(self.source.rows)
            if i in partners and row.inside.keys() - _same_blocks(row, partners[i]).keys()
        ]
        return TransferReport(
            rows,
            dropped=(*(f"row {i} {row.kind or 'of unknown kind'}" for i, row in unused), *inside),
            dropped_base=tuple(f"row {i} {row.kind or 'of unknown kind'}" for i, row in unused if not row.attention),
            source=self.label,
            changing=self.changing() if loaded else (),
        )

    def changing(self) -> tuple[int, ...]:
        """Return the rows with a block that the source does not have and that does not return its input."""
        classes = tuple(row_blocks().values())

        def is_new(path: str, i: int) -> bool:
            given = self.given(i)
            return given is None or (not self.target.rows[i].attention and path not in given.blocks)

        return tuple(
            i
            for i, row in enumerate(model_layers(self.model))
            if any(type(m) in classes and is_new(path, i) and _changes(m) for path, m in row.named_modules())
        )


def _changes(block: nn.Module) -> bool:
    """Tell whether a block returns something else than its input."""
    channels = getattr(block, "channels", None)
    one = next(iter(block.state_dict().values()), torch.empty(0))
    if type(channels) is not int or one.is_meta:
        return False
    x = torch.linspace(-2, 2, 64 * channels, device=one.device).view(1, channels, 8, 8)
    with torch.no_grad():
        y = deepcopy(block).float().eval()(x)
    return not torch.equal(y, x)


class _Renamed:
    """Stand-in for a model in Ultralytics' ``load``: tensors under the target's names, class names and head."""

    def __init__(self, plan: _Plan):
        given = plan.source.model
        self.tensors = plan.tensors()
        self.model = [None] if given is None else [model_layers(given)[-1]]
        self.names = getattr(given, "names", {})
        self.pt_path = getattr(given, "pt_path", None)
        self.is_fused = lambda: _is_fused(given)

    def float(self) -> _Renamed:
        return self

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.tensors


def _is_fused(model: nn.Module | None) -> bool:
    is_fused = getattr(model, "is_fused", None)
    return is_fused is not None and bool(is_fused())


def _same_blocks(source: Layer, target: Layer) -> dict[str, torch.Tensor]:
    """Return the tensors of blocks inside a layer that the other layer holds at the same paths."""
    if source.kind is None:
        return {k: t for k, t in source.inside.items() if k in target.inside}
    same = [f"{path}." for path, name in source.blocks.items() if target.blocks.get(path) == name]
    return {k: t for k, t in source.inside.items() if k.startswith(tuple(same))} if same else {}


def _row_report(
    row: int, source: int | None, given: Layer | None, layer: Layer, parameters: set[str], loaded: bool
) -> RowReport:
    def count(taken: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str]]:
        own = [k for k in taken if f"model.{row}.{k}" in parameters]
        came = [k for k, t in taken.items() if k in state and _is_transferred(state[k], t, loaded)]
        return own, came

    state = given.state if given else {}
    own, came = count(layer.state, state)
    own_inside, came_inside = count(layer.inside, _same_blocks(given, layer) if given else {})
    names = ", ".join(sorted(set(layer.blocks.values())))
    return RowReport(
        row=row,
        source=source,
        name=f"{layer.kind}_{names}" if names else str(layer.kind),
        attention=layer.attention,
        parameters=sum(layer.state[k].numel() for k in own),
        loaded=sum(layer.state[k].numel() for k in own if k in came),
        tensors=len(layer.state),
        loaded_tensors=len(came),
        left={k: _difference(state.get(k), t) for k, t in layer.state.items() if k not in came} if given else {},
        inside=sum(layer.inside[k].numel() for k in own_inside),
        inside_loaded=sum(layer.inside[k].numel() for k in own_inside if k in came_inside),
    )


def _is_transferred(source: torch.Tensor, target: torch.Tensor, loaded: bool) -> bool:
    return source.shape == target.shape and (not loaded or torch.equal(source.to(target), target))


def _difference(source: torch.Tensor | None, target: torch.Tensor) -> str:
    if source is None:
        return "not in the source"
    if source.shape == target.shape:
        return "classes in another order, matched by name"
    return f"{tuple(source.shape)} in the source, {tuple(target.shape)} here"


def _label(source: Source, given: Any) -> str:
    return str(source) if isinstance(source, (str, Path)) else str(getattr(given, "pt_path", None) or "given weights")
