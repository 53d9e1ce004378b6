"""Register attention blocks under the names that a model YAML may use; imports neither torch nor Ultralytics."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like, one_of
from yolo_attn.host.hyper import bind

if TYPE_CHECKING:
    from torch import nn

STORED = Path(__file__).parents[1] / "blocks" / "block_facts.json"
"""Facts about the shipped blocks, readable without torch; written by ``tools/update_generated.py``."""

SHIPPED_ALIASES: dict[str, tuple[str, ...]] = {
    facts["name"]: tuple(facts["aliases"]) for facts in json.loads(STORED.read_text(encoding="utf-8"))
}
"""Other names of the shipped blocks, as tutorials use them; equal to ``aliases`` on their classes."""

CONTROLS = ("IdentityControl", "PlainControl")
"""Control modules that replace a block in a comparison; defined in yolo_attn.controls, usable as row names."""

PREFIX = "yolo_attn."
"""In front of a name in a row, it says that the block of this package is meant, whoever else has that name."""

_LOCK = threading.RLock()
_blocks: dict[str, type[nn.Module]] = {}
_controls: dict[str, type[nn.Module]] = {}
_when_loaded: list[Callable[[], object]] = []
_aliases = {alias: name for name, aliases in SHIPPED_ALIASES.items() for alias in aliases}
_forced: set[str] = set()
_complete = threading.Event()  # set once the shipped blocks are in _blocks


def registered() -> dict[str, type[nn.Module]]:
    """Return every registered block by its YAML name, in order of registration."""
    return dict(_loaded())


def aliases_of(name: str) -> tuple[str, ...]:
    """Return the other names under which a YAML may use a block."""
    return tuple(alias for alias, target in _aliases.copy().items() if target == name)


def row_blocks() -> dict[str, type[nn.Module]]:
    """Return all classes that a row may name: the registered blocks and the controls."""
    return {**_loaded(), **_controls}


def names() -> list[str]:
    """Return the YAML names of the registered blocks, in order; without torch if only shipped ones are."""
    return list(_blocks if _complete.is_set() else SHIPPED_ALIASES)


def holds_shipped(name: str) -> bool:
    """Tell whether a YAML name refers to the shipped block of that name; a user may have replaced it."""
    if not _complete.is_set():
        return name in SHIPPED_ALIASES
    from yolo_attn.blocks import ATTENTION_BLOCKS

    return name in ATTENTION_BLOCKS and _blocks.get(name) is ATTENTION_BLOCKS[name]


def is_known(name: str) -> bool:
    """Tell whether a name or alias belongs to a registered block or a control; ``yolo_attn.`` may be before it."""
    name = name.removeprefix(PREFIX)
    return name in _aliases or name in CONTROLS or name in names()


def canonical(name: str) -> str:
    """Return the YAML name of a block given by its name or an alias.

    Raises:
        YoloAttnError: If there is no such block; the message names the nearest.
    """
    if not is_known(name):
        raise YoloAttnError(unknown_block(name))
    name = name.removeprefix(PREFIX)
    return _aliases.get(name, name)


def resolve(name: str) -> tuple[str, type[nn.Module]]:
    """Return the YAML name and the class of a block given by its name or an alias.

    Raises:
        YoloAttnError: If there is no such block; the message names the nearest.
    """
    name = canonical(name)
    return name, row_blocks()[name]


def unknown_block(name: str, also: Iterable[str] = ()) -> str:
    """Return the error text for an unknown block, with the nearest of the blocks, their aliases and ``also``."""
    return one_of("block", name, names(), also=[*_aliases, *also])


def replaces_host(name: str) -> bool:
    """Tell whether a block was registered under this name with ``force=True``."""
    return name in _forced


def add(name: str, cls: type[nn.Module], aliases: Iterable[str] = (), force: bool = False) -> None:
    """Register a block; a block that had one of the names loses it.

    Args:
        name: YAML name.
        cls: The class.
        aliases: Other names.
        force: Rows with one of these names mean this block, also where Ultralytics has a module of that name.
    """
    _loaded()
    with _LOCK:
        _aliases.pop(name, None)
        _blocks[name] = cls
        _aliases.update(dict.fromkeys(aliases, name))
        (_forced.update if force else _forced.difference_update)({name, *aliases})


def add_control(cls: type[nn.Module]) -> None:
    """Register a control under its class name, one of :data:`CONTROLS`."""
    _controls[cls.__name__] = cls


def when_loaded(load: Callable[[], object]) -> None:
    """Call ``load`` once, when the shipped blocks are first imported; it may import torch."""
    _when_loaded.append(load)


def remove(name: str) -> None:
    """Remove a block and its aliases."""
    _loaded()
    with _LOCK:
        if name not in _blocks:
            raise YoloAttnError(f"'{name}' is a control of comparisons and stays registered")
        del _blocks[name]
        for alias in (own := aliases_of(name)):
            del _aliases[alias]
        _forced.difference_update({name, *own})


def create_attention(name: str, channels: int, *args: Any, **hyper: Any) -> nn.Module:
    """Build one block.

    Args:
        name: YAML name or alias, e.g. ``"ELA"``.
        channels: Channels of input and output.
        *args: Hyper-parameters in the constructor's order.
        **hyper: Hyper-parameters by name, e.g. ``variant="L"``, ``init="identity"``.

    Raises:
        YoloAttnError: For an unknown block or hyper-parameter, or a value the block cannot take.

    Examples:
        >>> create_attention("ELA", 64, variant="L").channels
        64
    """
    name, cls = resolve(name)
    return build(cls, channels, bind(cls, args, hyper), f"{name} for {channels} channels")


def build(cls: type[nn.Module], channels: int, hyper: Mapping[str, Any], what: str) -> nn.Module:
    """Call a block's constructor; an error becomes a YoloAttnError that starts with ``what``."""
    try:
        return cls(channels, **hyper)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise like(error, f"{what}: {error}") from error


def is_attention(module: nn.Module) -> bool:
    """Tell whether a layer of a built model is a registered block, a control, or repeats of one."""
    layer: Any = module
    inner = list(layer) if type(layer).__name__ == "Sequential" and len(layer) else [layer]
    classes = row_blocks().values()
    return all(type(m) in classes for m in inner)


def _loaded() -> dict[str, type[nn.Module]]:
    if not _complete.is_set():
        from yolo_attn.blocks import ATTENTION_BLOCKS  # outside the lock: imports have locks of their own

        for load in _when_loaded:
            load()
        with _LOCK:
            if not _complete.is_set():
                _blocks.update(ATTENTION_BLOCKS)
                _complete.set()
    return _blocks
