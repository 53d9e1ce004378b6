"""Register attention blocks with Ultralytics' parser of model YAMLs by wrapping it, without a fork or a copy.

Ultralytics' ``parse_model`` looks a row's class up among the globals of ``ultralytics.nn.tasks`` and passes the row's
arguments to it; a string argument that names one of the parser's local variables is replaced by that variable. This
module changes five things:

* every block gets a *row class* as ``yolo_attn.NAME`` in ``ultralytics.nn.tasks``: called with the parser's list of
  widths and the row's ``from``, it returns the block itself, built for the right number of channels;
* ``parse_model`` and ``yaml_model_load`` are wrapped: rows of a model with attention are checked and their arguments
  put into that form before the original parser runs, and the bare names of the shipped YAMLs are found;
* the host's loading of weights, which matches rows by number, goes by row where one of the models has attention;
* an error while the host builds a model with attention becomes one sentence that names the row;
* the host's ``fuse()``, which knows its own classes only, folds the normalisations of blocks too.

A model without attention is built, loaded and fused by Ultralytics alone. Importing this module costs nothing:
Ultralytics is patched when it is imported, or now if it already is.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.host import parsing, registry
from yolo_attn.host.compat import TASKS
from yolo_attn.host.explain import name_row_in_init_errors
from yolo_attn.host.hyper import hyper_parameters
from yolo_attn.host.loading import load_by_row_if_attention
from yolo_attn.host.releases import check_host
from yolo_attn.host.row_classes import inside_class, row_class
from yolo_attn.host.row_names import INSIDE_KEY, row_key
from yolo_attn.host.safe_load import allow, gated_classes, modules_beside

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn


def register(
    cls: type[nn.Module] | None = None, *, name: str | None = None, aliases: Iterable[str] = (), force: bool = False
) -> Any:
    """Register a module class as a row of any model YAML; call it, or use it as a decorator.

    Args:
        cls: An ``nn.Module`` whose constructor takes the number of channels first and whose output has its input's
            shape. It must be importable by name, because checkpoints store it by name. A method ``fuse()``, if it has
            one, is called when a model is fused for inference, and has to do no harm when called again.
        name: Name in a YAML; the class's own name by default.
        aliases: Further names under which a YAML may use it.
        force: Replace a class that already has the name, Ultralytics' own included.

    Returns:
        The class, so that it works as a decorator, with or without arguments.

    Raises:
        YoloAttnError: If the class cannot be a block, or the name is taken; the message names the owner.

    Examples:
        >>> import torch, yolo_attn
        >>> class Scale(torch.nn.Module):
        ...     def __init__(self, channels, start: float = 1.0):
        ...         super().__init__()
        ...         self.weight = torch.nn.Parameter(torch.full((channels, 1, 1), start))
        ...     def forward(self, x):
        ...         return x * self.weight
        >>> yolo_attn.register(Scale)                       # then: - [-1, 1, Scale, [0.5]]
        <class 'yolo_attn.host.patch.Scale'>
        >>> yolo_attn.unregister("Scale")
    """
    if cls is None:
        return functools.partial(register, name=name, aliases=aliases, force=force)
    _check_class(cls)
    tasks = importlib.import_module(TASKS)  # to find a clash with one of Ultralytics' own classes now
    name, aliases = name or cls.__name__, tuple(aliases)
    if not force:
        _refuse_clash((name, *aliases), cls)
    registry.add(name, cls, aliases, force)
    _publish(tasks, name, cls)
    return cls


def unregister(name: str) -> None:
    """Remove a block: its name, aliases and row class; a host class that ``force`` had replaced is restored.

    Raises:
        YoloAttnError: If no block has this name.
    """
    name, _ = registry.resolve(name)
    registry.remove(name)
    if tasks := sys.modules.get(TASKS):
        delattr(tasks, row_key(name))


def _check_class(cls: type) -> None:
    from torch import nn

    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise YoloAttnError(f"{cls!r} cannot be registered: an attention block is a class derived from torch.nn.Module")
    if "<locals>" in cls.__qualname__:
        raise YoloAttnError(
            f"{cls.__qualname__} is defined inside a function, so no checkpoint could store it: define it at the top "
            f"level of a module"
        )
    hyper_parameters(cls)


def _refuse_clash(names: Iterable[str], cls: type) -> None:
    for name in names:
        if owner := _owner(name, cls):
            raise YoloAttnError(
                f"cannot register {cls.__module__}.{cls.__qualname__} as '{name}': that name belongs to {owner}. "
                f"Choose another with name=..., or replace it with force=True"
            )


def _owner(name: str, cls: type) -> str | None:
    """Return who owns a name, ``None`` if nobody or this class does."""
    held = registry.resolve(name)[1] if registry.is_known(name) else getattr(sys.modules.get(TASKS), name, None)
    if held is None or held is cls:
        return None
    return f"{held.__module__}.{held.__qualname__}" if isinstance(held, type) else f"{TASKS}.{name}"


def install() -> None:
    """Register the shipped blocks with Ultralytics: now if it is imported, else on its import."""
    if TASKS in sys.modules:
        _patch(importlib.import_module(TASKS))  # waits where another thread is still at it
    elif not any(isinstance(f, _AfterImport) for f in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


class _AfterImport:
    """Import finder that runs ``_patch`` once Ultralytics' model module has been imported.

    Not derived from ``importlib.abc.MetaPathFinder``: importing that takes longer than everything else here.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != TASKS:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec: Any = next(filter(None, found), None)
        if spec is not None:
            spec.loader.exec_module = functools.partial(self._run_and_patch, spec.loader.exec_module)
        return spec

    def _run_and_patch(self, run: Callable[[ModuleType], None], module: ModuleType) -> None:
        run(module)
        sys.meta_path.remove(self)
        _patch(module)


def _patch(tasks: ModuleType) -> None:
    if hasattr(getattr(tasks, "parse_model", None), "wrapped_by_yolo_attn"):
        return
    check_host(tasks)
    for name, cls in registry.row_blocks().items():
        _publish(tasks, name, cls)
    setattr(tasks, INSIDE_KEY, inside_class())
    allow(*gated_classes())
    _wrap(tasks, "parse_model", parsing.parse)
    _wrap(tasks, "yaml_model_load", parsing.load_yaml)
    for host in (tasks.DetectionModel, tasks.ClassificationModel):
        host.__init__ = name_row_in_init_errors(host.__init__)
    tasks.BaseModel.load = load_by_row_if_attention(tasks.BaseModel.load)
    tasks.BaseModel.fuse = _with_blocks(tasks.BaseModel.fuse, tasks)


def _publish(tasks: ModuleType, name: str, cls: type[nn.Module]) -> None:
    setattr(tasks, row_key(name), row_class(cls))
    allow(*modules_beside(cls))


def _wrap(tasks: ModuleType, name: str, wrapper: Callable[..., Any]) -> None:
    """Replace a host function by ``wrapper(original, ...)`` in every host module that imported it."""
    original = getattr(tasks, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    wrapped: Any = call
    wrapped.wrapped_by_yolo_attn = True
    for module in [m for n, m in sys.modules.items() if n.split(".")[0] == "ultralytics"]:
        if getattr(module, "__dict__", {}).get(name) is original:
            setattr(module, name, wrapped)


def _with_blocks(fuse: Callable[..., Any], tasks: ModuleType) -> Callable[..., Any]:
    """Fuse the blocks before the host fuses the rest, so that the summary it prints counts the fused blocks."""

    @functools.wraps(fuse)
    def fuses(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not getattr(tasks, "is_qat", lambda model: False)(self):  # the ranges of fake quantisation would not follow
            classes = [cls for cls in registry.row_blocks().values() if _folds(cls)]
            blocks: list[Any] = [m for m in self.modules() if type(m) in classes]
            for block in blocks:
                block.fuse()
        return fuse(self, *args, **kwargs)

    return fuses


def _folds(cls: type) -> bool:
    """Tell whether a class has a method ``fuse()`` without required arguments."""
    method = getattr(cls, "fuse", None)
    if not inspect.isfunction(method):
        return False
    needed = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty]
    return len(needed) == 1 and needed[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
