"""Derive classes from a mixin and an Ultralytics class that can be pickled by name.

Pickle stores a class by module and name only. The name of a derived class encodes the full name of the host class, with
dots as ``__``, so that a module's ``__getattr__`` can derive the same class again in another process.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_HOSTS = ("ultralytics.",)

Make = TypeVar("Make", bound=Callable[..., type])


def made_once(make: Make) -> Make:
    """Cache a function that makes classes, so that all threads get the same class for the same arguments.

    ``functools.cache`` calls the function twice where two threads ask at once: two classes of one name, of which pickle
    finds one.
    """
    made: dict[tuple[Any, ...], type] = {}

    @functools.wraps(make)
    def once(*args: Any) -> type:
        return made[args] if args in made else made.setdefault(args, make(*args))

    once.cache_clear = made.clear  # type: ignore[attr-defined]
    return once  # type: ignore[return-value]


def derive(mixin: type, host: type, module: str, members: Mapping[str, Any] | None = None, prefix: str = "") -> type:
    """Return ``class (mixin, host)``, pickled as an attribute of ``module``, whose ``__getattr__`` must return it.

    ``prefix`` begins its name. The module is imported too, because cloudpickle stores a class by value if its module is
    not loaded.
    """
    importlib.import_module(module)
    name = prefix + f"{host.__module__}.{host.__qualname__}".replace(".", "__")
    return type(name, (mixin, host), {"__module__": module, "__doc__": host.__doc__, **(members or {})})


def host_of(name: str, module: str) -> type:
    """Return the host class encoded in the name of a derived class.

    Raises:
        AttributeError: If the name encodes no host class, as a module's ``__getattr__`` must raise.
    """
    where, _, cls = name.replace("__", ".").rpartition(".")
    if not where.startswith(_HOSTS):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return getattr(importlib.import_module(where), cls)
