"""Check hyper-parameters against the constructor of a block: its signature and annotations.

The constructor is the only description of a block's hyper-parameters: names, order, defaults and types are read from
it, for shipped and user-defined blocks alike.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.util.words import literal


def hyper_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the constructor's parameters after ``channels``, by name.

    Raises:
        YoloAttnError: If the constructor has no positional parameter to take the number of channels.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise YoloAttnError(
            f"{cls.__name__} cannot be an attention block: its constructor must take the number of channels first, "
            f"as in `def __init__(self, channels, ...)`"
        )
    return {p.name: p for p in parameters[1:]}


def bind(cls: type, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Merge positional and keyword hyper-parameters into one checked mapping.

    Args:
        cls: The block class.
        args: Values in the order of the constructor, without ``channels``. A last value that is a mapping holds
            keywords, as in the YAML row ``[-1, 1, ELA, [{variant: L}]]``.
        kwargs: Values by name.

    Returns:
        Hyper-parameters by name, without those left at the constructor's defaults.

    Raises:
        YoloAttnError: For an unknown name, a value given twice, too many values or a value of the wrong type.
    """
    allowed = hyper_parameters(cls)
    args, named = list(args), dict(kwargs or {})
    if args and isinstance(args[-1], Mapping):
        named = {**args.pop(), **named}
    ordered = [n for n, p in allowed.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    variadic = {p.kind for p in allowed.values()}
    if len(args) > len(ordered) and inspect.Parameter.VAR_POSITIONAL not in variadic:
        raise YoloAttnError(
            f"{cls.__name__} takes at most {len(ordered)} values ({', '.join(ordered) or 'none'}; channels are found "
            f"by the library), {len(args)} were given: {args}"
        )
    bound: dict[str, Any] = {}
    for name, value in [*zip(ordered, args, strict=False), *named.items()]:
        if name in bound:
            raise YoloAttnError(f"{cls.__name__} got {name} twice: {bound[name]!r} and {value!r}")
        if name not in allowed and inspect.Parameter.VAR_KEYWORD not in variadic:
            names = [n for n in allowed if allowed[n].kind.name.startswith(("POSITIONAL_OR", "KEYWORD"))]
            raise YoloAttnError(f"{cls.__name__}: {one_of('hyper-parameter', name, names)}")
        bound[name] = literal(value)
    hints = _type_hints(cls)
    for name, value in bound.items():
        if name in hints and not _fits(value, hints[name]):
            raise YoloAttnError(f"{cls.__name__}: {name}={value!r} is not {_describe(hints[name])}")
    return bound


def _type_hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except Exception:  # a user's annotation may name something that exists only while type-checking
        return {}


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, h) for h in typing.get_args(hint))
    if hint is bool or isinstance(value, bool):
        return hint in (bool, Any, object) and isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float))
    if hint in (int, str, type(None)):
        return isinstance(value, hint)
    return True  # other annotations are left to the constructor


def _describe(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(h) for h in typing.get_args(hint))
    return {int: "an integer", float: "a number", bool: "true or false", str: "a word", type(None): "None"}.get(
        hint, str(hint)
    )
