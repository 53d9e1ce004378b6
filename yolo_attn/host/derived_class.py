"""Classes that put a mixin in front of one of Ultralytics', importable by a name that says which.

A checkpoint or a worker process stores such a class by module and name only. The name spells the host class, dots as
``__``, so that a module's ``__getattr__`` can make the same class again in another process.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

_HOSTS = ("ultralytics.",)


def derive(mixin: type, host: type, module: str, members: Mapping[str, Any] | None = None) -> type:
    """Return ``class (mixin, host)``, which ``module`` has to hand out under the class's name."""
    name = f"{host.__module__}.{host.__qualname__}".replace(".", "__")
    return type(name, (mixin, host), {"__module__": module, "__doc__": host.__doc__, **(members or {})})


def host_of(name: str, module: str) -> type:
    """Return the host class that the name of a derived class spells.

    Raises:
        AttributeError: If the name spells none, as a module's ``__getattr__`` has to.
    """
    where, _, cls = name.replace("__", ".").rpartition(".")
    if not where.startswith(_HOSTS):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return getattr(importlib.import_module(where), cls)
