"""Convert frozen dataclasses to JSON values and back, by the annotations of their fields."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from yolo_attn.errors import YoloAttnError

OMIT = {"omit": True}
"""Metadata of a field that is left out of the JSON while it has its default."""

T = TypeVar("T")


def to_json(value: object) -> Any:
    """Return a value as JSON values: dataclasses and mappings become dicts, sequences become lists."""
    if is_dataclass(value):
        return {f.name: to_json(held) for f in fields(value) if not _is_omitted(f, held := getattr(value, f.name))}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(kind: type[T], content: object) -> T:
    """Build a dataclass from JSON values.

    Unknown keys are ignored. A field that is missing or null gets its default, or ``None`` where its type allows that.

    Args:
        kind: The dataclass. Fields may hold dataclasses, ``Mapping[str, X]``, ``tuple[X, ...]``, ``X | None``, text,
            numbers, truth values and ``Any``.
        content: What ``json.loads`` returned.

    Raises:
        YoloAttnError: If a required field is missing or a value has the wrong type; the message names its place.
    """
    built: T = _built(kind, content, "")
    return built


def _is_omitted(field: Field[Any], value: object) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return bool(field.metadata.get("omit")) and value == default


def _built(kind: Any, content: Any, place: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return content
    if origin in (types.UnionType, Union):
        (inner,) = (option for option in get_args(kind) if option is not type(None))
        return None if content is None else _built(inner, content, place)
    if is_dataclass(kind):
        _check(content, Mapping, "an object", place)
        return _dataclass(kind, content, place)
    if origin is tuple:
        _check(content, list | tuple, "a list", place)
        return tuple(_built(get_args(kind)[0], item, f"{place}[{k}]") for k, item in enumerate(content))
    if origin is not None:
        _check(content, Mapping, "an object", place)
        return {key: _built(get_args(kind)[1], item, f"{place}.{key}") for key, item in content.items()}
    _check(content, int | float if kind is float else kind, kind.__name__, place)
    return content


def _dataclass(kind: Any, content: Mapping[str, Any], place: str) -> Any:
    values: dict[str, Any] = {}
    for field in fields(kind):
        inner, hint = f"{place}.{field.name}".lstrip("."), _hints(kind)[field.name]
        if content.get(field.name) is not None:
            values[field.name] = _built(hint, content[field.name], inner)
        elif field.default is MISSING and field.default_factory is MISSING:
            if type(None) not in get_args(hint) and hint is not Any:
                raise YoloAttnError(f"'{inner}' is missing")
            values[field.name] = None
    return kind(**values)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _check(content: object, kind: Any, name: str, place: str) -> None:
    if not isinstance(content, kind) or (isinstance(content, bool) and kind is not bool):
        raise YoloAttnError(f"'{place}' is {content!r}, not {name}")
