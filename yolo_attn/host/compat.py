"""Differences between releases of Ultralytics and torch, one function each, and the one way to replace their globals.

Each function states the release before which it is needed: it can be removed once that is the oldest one supported.
Importing this module imports neither torch nor Ultralytics.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

TASKS = "ultralytics.nn.tasks"
"""The module of Ultralytics that parses model YAMLs."""

_ABSENT = object()
_LOCK = threading.RLock()
_replaced: dict[tuple[int, str], list[tuple[object, Any]]] = {}


@contextlib.contextmanager
def patched(owner: Any, **values: Any) -> Iterator[None]:
    """Replace attributes of a module, class or object of Ultralytics for the time of a ``with`` block.

    Ultralytics reads some choices from module globals and offers no argument for them: the class behind
    ``ultralytics.YOLO`` on its command line, the words given to it, the number of threads. Functions and commands are
    better replaced by :func:`redirected`. Blocks may overlap, in one thread or several: the value that was replaced
    last holds, and the original comes back when the last block ends. Other threads see the replaced value too.

    Args:
        owner: Whose attributes to replace.
        **values: New values by name; a name that the owner does not have is removed again.
    """
    mine = object()
    with _LOCK:
        for name, value in values.items():
            layers = _replaced.setdefault((id(owner), name), [(None, vars(owner).get(name, _ABSENT))])
            layers.append((mine, value))
            setattr(owner, name, value)
    try:
        yield
    finally:
        with _LOCK:
            for name in values:
                _remove_replacement(owner, name, mine)


@contextlib.contextmanager
def redirected(owner: Any, **values: Callable[..., Any] | list[str]) -> Iterator[None]:
    """Replace functions or commands of a module or class of Ultralytics for this thread, in a ``with`` block.

    Other threads go on to use the original. It is replaced for good: a function by one that calls what the ``with``
    block of its own thread gives, a command (a list of words) by one that unpacks to the words given there.

    Args:
        owner: Whose functions or commands to replace.
        **values: The new ones by name.
    """
    chosen = {_choice(owner, name): value for name, value in values.items()}
    tokens = {variable: variable.set(value) for variable, value in chosen.items()}
    try:
        yield
    finally:
        for variable, token in tokens.items():
            variable.reset(token)


def _choice(owner: Any, name: str) -> ContextVar[Any]:
    """Return the variable that holds what a thread uses in place of a value, which is wrapped at the first call."""
    with _LOCK:
        original = vars(owner)[name]
        if not hasattr(original, "chosen_by_yolo_attn"):
            chosen: ContextVar[Any] = ContextVar(name, default=None)
            original = _Command(original, chosen) if isinstance(original, list) else _calling(original, chosen)
            setattr(owner, name, original)
        return original.chosen_by_yolo_attn


def _calling(original: Callable[..., Any], chosen: ContextVar[Any]) -> Any:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (chosen.get() or original)(*args, **kwargs)

    call.chosen_by_yolo_attn = chosen  # type: ignore[attr-defined]
    return call


class _Command(list[str]):
    """Words of a command that unpack to others where a thread chose them."""

    def __init__(self, words: list[str], chosen: ContextVar[list[str] | None]):
        super().__init__(words)
        self.chosen_by_yolo_attn = chosen

    def __iter__(self) -> Iterator[str]:
        chosen = self.chosen_by_yolo_attn.get()
        return super().__iter__() if chosen is None else iter(chosen)


def _remove_replacement(owner: Any, name: str, mine: object) -> None:
    layers = _replaced[id(owner), name]
    was_on_top = layers[-1][0] is mine
    layers[:] = [layer for layer in layers if layer[0] is not mine]
    if was_on_top and layers[-1][1] is _ABSENT:
        delattr(owner, name)
    elif was_on_top:
        setattr(owner, name, layers[-1][1])
    if len(layers) == 1:
        del _replaced[id(owner), name]


def tasks() -> ModuleType:
    """Return ``ultralytics.nn.tasks``, imported if it was not."""
    return importlib.import_module(TASKS)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return a model without the wrappers of torch.compile and multi-GPU training."""
    from ultralytics.utils import torch_utils

    host: Any = torch_utils
    unwrap = host.unwrap_model if hasattr(host, "unwrap_model") else host.de_parallel  # until 8.3.200
    return unwrap(model)


def trained_model(model: nn.Module) -> nn.Module:
    """Return the model that learns, without wrappers and, in a distillation, without its teacher."""
    model = unwrapped(model)
    return getattr(model, "student_model", model)


@functools.cache
def workers_receive_model() -> bool:
    """Tell whether Ultralytics passes the model to the workers of a multi-GPU training, or makes them rebuild it."""
    from ultralytics.utils import dist

    return "trainer.model" in inspect.getsource(dist.generate_ddp_file)  # until 8.4.140


@functools.cache
def train_reads_pretrained() -> bool:
    """Tell whether ``Model.train`` reads the file in ``pretrained=``; early releases take the model's weights."""
    from ultralytics.engine import model

    return "load_checkpoint(pretrained)" in inspect.getsource(model.Model.train)


def grad_scaler(enabled: bool, initial_scale: float) -> Any:
    """Return torch's gradient scaler for float16 on CUDA."""
    import torch

    scalers = torch.amp if hasattr(torch.amp, "GradScaler") else torch.cuda.amp  # until torch 2.3
    return scalers.GradScaler(init_scale=initial_scale, enabled=enabled)


@contextlib.contextmanager
def dynamic_torchscript() -> Iterator[None]:
    """Allow TorchScript exports with ``dynamic=True``, which some releases refuse although they can do it."""
    from ultralytics.engine import exporter

    if not hasattr(exporter, "validate_args"):  # the first releases of 8.3 refuse nothing
        yield
        return
    validate: Callable[..., None] = inspect.unwrap(exporter.validate_args)

    def with_dynamic(format: str, given: Any, allowed: Sequence[str]) -> None:
        validate(format, given, [*allowed, "dynamic"])

    with redirected(exporter, validate_args=with_dynamic):
        yield


@contextlib.contextmanager
def unhurried_nms() -> Iterator[None]:
    """Let non-maximum suppression take its time in a ``with`` block: otherwise it drops images after some seconds."""
    try:
        owner = importlib.import_module("ultralytics.utils.nms")
    except ImportError:  # early releases of 8.3
        owner = importlib.import_module("ultralytics.utils.ops")
    suppress = inspect.unwrap(owner.non_max_suppression)
    with redirected(owner, non_max_suppression=functools.partial(suppress, max_time_img=math.inf)):
        yield


def quantization_bits(arguments: Any) -> Any:
    """Return the requested bits per weight of an export, or Ultralytics' name of another precision."""
    quantize = getattr(arguments, "quantize", None)
    if quantize is None:  # until 8.4 the arguments were these two
        return 8 if getattr(arguments, "int8", False) else 16 if getattr(arguments, "half", False) else 32
    return quantize
