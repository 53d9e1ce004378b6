"""Load checkpoints with known classes only, by Ultralytics' restricted loader, and register classes with it."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from yolo_attn.host.compat import TASKS, redirected, tasks

if TYPE_CHECKING:
    from torch import nn


_restricted: ContextVar[bool] = ContextVar("restricted", default=False)  # of this thread's loads


@contextlib.contextmanager
def restricted_loads() -> Iterator[bool]:
    """Let Ultralytics unpickle known classes only for the time of a ``with`` block, so that no other code is run.

    Loads of other threads are not restricted.

    Yields:
        Whether the installed Ultralytics and torch support it; if not, loading is unrestricted.
    """
    host: Any = tasks()
    load = inspect.unwrap(host.torch_safe_load)
    supported = getattr(getattr(host, "_SafeLoad", None), "SUPPORTED", False)
    if not supported or "safe_only" not in inspect.signature(load).parameters:
        yield False
        return
    token = _restricted.set(True)
    try:
        with redirected(host, torch_safe_load=lambda weight, safe_only=True: load(weight, safe_only=True)):
            yield True
    finally:
        _restricted.reset(token)


def loads_are_restricted() -> bool:
    """Tell whether known classes only are unpickled: by ``ULTRALYTICS_SAFE_LOAD=1``, or in ``restricted_loads``."""
    return _restricted.get() or bool(getattr(tasks(), "SAFE_LOAD", False))


def allow(*classes: type) -> None:
    """Allow restricted loads to unpickle these classes."""
    from torch import serialization

    if hasattr(serialization, "add_safe_globals"):
        with getattr(getattr(sys.modules.get(TASKS), "_SafeLoad", None), "_lock", contextlib.nullcontext()):
            serialization.add_safe_globals(list(classes))  # is no single step: Ultralytics' loads hold the same lock


def modules_beside(cls: type[nn.Module]) -> list[type[nn.Module]]:
    """Return a block's class and the other module classes of its file and of the package that the file is in."""
    from torch import nn

    package = cls.__module__.rpartition(".")[0]
    near = [
        m for name, m in list(sys.modules.items()) if name == cls.__module__ or name.rpartition(".")[0] == package != ""
    ]
    held = {
        c for module in near for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__
    }
    return [cls, *(c for c in held if issubclass(c, nn.Module))]


def gated_classes() -> list[type]:
    """Return the gated classes of every module class of the host that can hold a block."""
    from torch import nn

    from yolo_attn.host.gated import Gated, GatedInput, gated_class

    found: list[type] = []
    for name in ("block", "conv", "transformer"):
        module = sys.modules[f"ultralytics.nn.modules.{name}"]
        found += [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    modules: list[type] = [c for c in found if issubclass(c, nn.Module)]
    return [gated_class(c, mixin) for c in modules for mixin in (Gated, GatedInput)]
