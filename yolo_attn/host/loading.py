"""Load weights by Ultralytics' own ``BaseModel.load``, given the rows to load into, and take its place.

Ultralytics matches tensors by name, and a name holds the number of the row. It does some things only if every tensor of
the model was found: it then takes over the class names. A model with attention has tensors that no other model has.
:func:`load_rows` therefore shows Ultralytics the model without them, and with the first convolution as row 0.

The function that finds the corresponding rows belongs to :mod:`yolo_attn.weights`; it is given to :func:`set_loader`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from yolo_attn.host import registry
from yolo_attn.host.compat import redirected, tasks

if TYPE_CHECKING:
    from torch import nn

Loader = Callable[[Any, Any, bool], object]
"""Loads weights into a model: the model, the weights, whether to log."""

_by_row: list[Loader] = []


def set_loader(load: Loader) -> None:
    """Have Ultralytics load by ``load`` where the model or the weights hold attention."""
    _by_row[:] = [load]


@contextlib.contextmanager
def loading_by(load: Loader) -> Iterator[None]:
    """Have Ultralytics load by ``load`` in this thread, for the time of a ``with`` block, whatever the models hold."""

    def loads(model: Any, weights: Any, verbose: bool = True) -> None:
        load(model, weights, verbose)

    with redirected(tasks().BaseModel, load=loads):
        yield


def load_by_row_if_attention(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap Ultralytics' ``BaseModel.load``: weights of or for a model with attention go by row, others by ``load``."""

    @functools.wraps(load)
    def loads(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _by_row or not (holds_attention(self) or holds_attention(_source([*args, kwargs.get("weights")][0]))):
            return load(self, *args, **kwargs)
        given = inspect.signature(load).bind(self, *args, **kwargs)
        given.apply_defaults()
        return _by_row[0](*given.args)

    return loads


def _source(weights: Any) -> Any:
    """Return what Ultralytics takes the weights from."""
    return (weights.get("ema") or weights.get("model")) if isinstance(weights, dict) else weights


def holds_rows(weights: Any) -> bool:
    """Tell whether weights that are given to Ultralytics' ``load`` are those of a model built of rows."""
    from torch import nn

    return isinstance(getattr(_source(weights), "model", None), nn.Sequential)


def holds_attention(model: Any) -> bool:
    """Tell whether a row of a model is attention or holds a block inside it."""
    from yolo_attn.host.gated import blocks_inside

    return holds_rows(model) and any(registry.is_attention(row) or blocks_inside(row) for row in model.model)


def load_by_host(model: nn.Module, weights: Any, verbose: bool) -> None:
    """Load weights by Ultralytics' own code."""
    inspect.unwrap(tasks().BaseModel.load)(model, weights, verbose=verbose)


def load_rows(model: nn.Module, order: Sequence[int], hidden: Collection[str], weights: Any, verbose: bool) -> None:
    """Load weights by Ultralytics' own code into the rows of a model, taken in another order.

    Args:
        model: The model.
        order: Numbers of its rows: those that Ultralytics is to see as row 0, 1, ...; the last is the head.
        hidden: Names of tensors, in this order of rows, that Ultralytics is not to count.
        weights: A model, or what stands for one; its tensors are named in this order of rows.
        verbose: Whether Ultralytics logs.
    """
    from torch import nn

    shown: Any = copy.copy(model)
    rows: Any = model.model
    shown._modules = {**model._modules, "model": nn.Sequential(*(rows[i] for i in order))}
    state_dict = shown.state_dict
    shown.state_dict = lambda: {k: v for k, v in state_dict().items() if k not in hidden}
    load_by_host(shown, weights, verbose)
    vars(model).update({k: v for k, v in vars(shown).items() if k not in ("_modules", "state_dict")})
