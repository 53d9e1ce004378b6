"""Load checkpoints with known classes only, by Ultralytics' restricted loader, and register classes with it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from yolo_attn.host.compat import tasks

if TYPE_CHECKING:
    from torch import nn


@contextlib.contextmanager
def restricted_loads() -> Iterator[bool]:
    """Let Ultralytics unpickle known classes only for the time of a ``with`` block, so that no other code is run.

    Yields:
        Whether the installed Ultralytics and torch support it; if not, loading is unrestricted.
    """
    host: Any = tasks()
    able = bool(getattr(getattr(host, "_SafeLoad", None), "SUPPORTED", False))
    before = loads_are_restricted()
    if able:
        host.SAFE_LOAD = True
    try:
        yield able
    finally:
        if able:
            host.SAFE_LOAD = before


def loads_are_restricted() -> bool:
    """Tell whether ``ULTRALYTICS_SAFE_LOAD=1`` restricts all loads to known classes."""
    return bool(getattr(tasks(), "SAFE_LOAD", False))


def allow(*classes: type) -> None:
    """Allow restricted loads to unpickle these classes."""
    from torch import serialization

    if hasattr(serialization, "add_safe_globals"):
        serialization.add_safe_globals(list(classes))


def modules_beside(cls: type[nn.Module]) -> list[type[nn.Module]]:
    """Return a block's class and the other module classes of its file."""
    from torch import nn

    beside = vars(sys.modules[cls.__module__]).values()
    own = [c for c in beside if isinstance(c, type) and issubclass(c, nn.Module) and c.__module__ == cls.__module__]
    return [cls, *own]


def gated_classes() -> list[type]:
    """Return the gated class of every module class of the host that can hold a block."""
    from torch import nn

    from yolo_attn.host.gated import gated_class

    found: list[type] = []
    for name in ("block", "conv", "transformer"):
        module = sys.modules[f"ultralytics.nn.modules.{name}"]
        found += [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    modules: list[type] = [c for c in found if issubclass(c, nn.Module)]
    return [gated_class(c) for c in modules]
