"""Store frozen dataclasses of arrays in one compressed ``.npz`` file each."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from yolo_attn.errors import YoloAttnError
from yolo_attn.util.files import replace_whole

_FORMAT = "format"
_VERSION = 1
_SHAPE = ".shape"
_UNREADABLE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, struct.error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Errors that numpy and zipfile raise for files that are cut short, changed or of another kind."""

R = TypeVar("R", bound="Record")


class Record:
    """Base of frozen dataclasses whose fields are arrays, integers, tuples of text, or ``None``."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    images: int
    names: tuple[str, ...]

    def save(self, path: str | Path) -> Path:
        """Write all fields to one compressed file, whole or not at all; return its path."""
        path = Path(path)
        content: dict[str, np.ndarray] = {}
        for field in fields(self):
            held = getattr(self, field.name)
            if held is None:
                continue
            values = np.asarray(held, dtype=np.str_ if isinstance(held, tuple) else None)
            if values.dtype == bool:
                content[field.name + _SHAPE] = np.array(values.shape)
            content[field.name] = _compact(values)
        content[_FORMAT] = np.array(self._format())
        return replace_whole(path, lambda part: _write(part, content))

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Read a file written by :meth:`save`.

        Raises:
            YoloAttnError: If the file is missing, damaged, or of another kind.
        """
        return load_record(path, cls)

    @classmethod
    def _format(cls) -> str:
        return f"{cls.__name__} {_VERSION}"

    def _make_arrays(self, names: tuple[str, ...]) -> None:
        """Convert fields given as lists to arrays, and the names of the images to a tuple of text."""
        for name in names:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        object.__setattr__(self, "names", tuple(map(str, self.names)))

    def _check_lengths(self, names: tuple[str, ...], length: int) -> None:
        for name in names:
            values = getattr(self, name)
            if values is not None and (values.ndim == 0 or len(values) != length):
                raise YoloAttnError(f"'{name}' has shape {values.shape}, but there are {length} of them")

    def _check_indices(self, name: str, end: int, lowest: int = 0) -> None:
        values = getattr(self, name)
        if values.size and not (lowest <= values.min() and values.max() < end):
            raise YoloAttnError(
                f"'{name}' goes from {values.min()} to {values.max()}; allowed is {lowest} to {end - 1}"
            )

    def _check_names(self) -> None:
        if self.names and len(self.names) != self.images:
            raise YoloAttnError(f"{len(self.names)} names for {self.images} images")


def load_record(path: str | Path, *kinds: type[R]) -> R:
    """Read a file written by :meth:`Record.save`.

    Args:
        path: The file.
        kinds: Classes it may hold.

    Raises:
        YoloAttnError: If the file is missing, damaged, or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        kind = next((k for k in kinds if k._format() == str(stored[_FORMAT])), None)
        if kind is None:
            raise YoloAttnError(f"it holds {stored[_FORMAT]}, not {' or '.join(k._format() for k in kinds)}")
        return kind(**{f.name: _restored(stored, f.name) for f in fields(kind) if f.name in stored})
    except FileNotFoundError as error:
        raise YoloAttnError(f"there is no '{path}'") from error
    except YoloAttnError as error:
        raise YoloAttnError(f"'{path}': {error}") from error
    except _UNREADABLE as error:
        raise YoloAttnError(f"'{path}' is damaged or no stored record ({error})") from error


def _write(path: Path, content: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # given a path, numpy would append its own ending
        np.savez_compressed(file, **cast(dict[str, Any], content))


def _compact(values: np.ndarray) -> np.ndarray:
    """Pack booleans into bits and integers into their smallest type; return other values unchanged."""
    if values.dtype == bool:
        return np.packbits(values)
    if not np.issubdtype(values.dtype, np.integer) or not values.size:
        return values
    return values.astype(np.promote_types(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))


def _restored(stored: dict[str, np.ndarray], name: str) -> Any:
    values = stored[name]
    if name + _SHAPE in stored:
        shape = stored[name + _SHAPE]
        return np.unpackbits(values, count=int(shape.prod())).astype(bool).reshape(shape)
    return values.item() if values.ndim == 0 else values
