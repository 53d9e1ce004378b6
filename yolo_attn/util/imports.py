"""Import a user's files, in which blocks are defined, here and in every process that is started from here.

The files are remembered in an environment variable, which ``import yolo_attn`` reads. A file is imported under its own
name with its folder on ``sys.path``, so that a checkpoint stores ``mine.Scale`` for a class of ``mine.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_attn.errors import YoloAttnError, like, nearest_file

VARIABLE = "YOLO_ATTN_IMPORT"
"""Environment variable with the files, as absolute paths separated by ``os.pathsep``, and the names of modules."""


@contextlib.contextmanager
def imported(words: Sequence[str]) -> Iterator[None]:
    """Import files or modules; processes started during the ``with`` block import them too.

    Args:
        words: Paths of files, or names of modules, which are found as Python finds them and in the working folder.

    Raises:
        YoloAttnError: If there is no such file, its name is taken, or it raises an error.
    """
    before = os.environ.get(VARIABLE)
    for word in words:
        entry = _entry(word)
        _import(entry)
        os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*entries(), entry]))
    try:
        yield
    finally:
        if words and before is None:
            os.environ.pop(VARIABLE, None)
        elif words:
            os.environ[VARIABLE] = str(before)


def entries() -> list[str]:
    """Return the files and modules that processes started now import."""
    return [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]


def import_entries() -> None:
    """Import what the environment variable names."""
    for entry in entries():
        _import(entry)


def import_entries_at_start() -> None:
    """Import what the environment variable names; a failure ends ``yolo-attn`` with one line and exit code 2."""
    try:
        import_entries()
    except YoloAttnError as error:
        command = Path(sys.argv[0]).stem  # "-m" as long as `python -m yolo_attn.cli` imports its package
        if command not in ("yolo-attn", "-m"):
            raise
        print(f"yolo-attn: {VARIABLE}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def checksum(entries: Sequence[str]) -> str | None:
    """Return a checksum of the contents of imported files, whatever their folder; ``None`` if there are none."""
    if not entries:
        return None
    held = {name: Path(str(sys.modules[name].__file__)).read_bytes() for _, name in map(_folder_and_name, entries)}
    return hashlib.sha256(b"".join(name.encode() + b"\0" + held[name] for name in sorted(held))).hexdigest()


def _entry(word: str) -> str:
    """Return a file's absolute path; for a module its name, after the folder if it lies in the working folder."""
    path = Path(word).expanduser()
    if path.is_file() or path.suffix == ".py" or len(path.parts) != 1 or (path / "__init__.py").is_file():
        return _file_entry(path, word)
    parts = word.split(".")
    if any(Path(*parts[:-1], name).exists() for name in (f"{parts[-1]}.py", f"{parts[-1]}/__init__.py")):
        return os.path.join(os.getcwd(), word)
    if not all(part.isidentifier() for part in parts) or not _is_found(parts[0]):
        raise like(
            ModuleNotFoundError,
            f"no file or module '{word}' to import{nearest_file(Path(f'{word}.py'), '*.py', cutoff=0.5)}",
        )
    return word


def _file_entry(path: Path, word: str) -> str:
    if not path.exists():
        raise like(FileNotFoundError, f"no file '{word}' to import{nearest_file(path, '*.py', cutoff=0.5)}")
    if path.is_file() and path.suffix != ".py":
        raise YoloAttnError(f"'{word}' cannot be imported: it is no Python file")
    if not path.stem.isidentifier():
        raise YoloAttnError(f"'{word}' cannot be imported: '{path.stem}' is no name of a module, such as my_block")
    if os.pathsep in os.path.abspath(path):
        raise YoloAttnError(f"'{word}' cannot be imported: there is a '{os.pathsep}' in its path")
    return os.path.abspath(path)


def _import(entry: str) -> None:
    folder, name = _folder_and_name(entry)
    if folder:
        if folder not in sys.path:
            sys.path.append(folder)
        importlib.invalidate_caches()
        _refuse_namesake(entry, folder, name.partition(".")[0])
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        where = _line_of(error, entry)
        raise YoloAttnError(f"'{entry}' cannot be imported: {type(error).__name__}: {error}{where}") from error


def _folder_and_name(entry: str) -> tuple[str, str]:
    folder, name = os.path.split(entry)
    return folder, name.removesuffix(".py")


def _refuse_namesake(entry: str, folder: str, name: str) -> None:
    """Refuse a file whose name belongs to another module, which would be imported instead, or not be found later."""
    there = {os.path.join(folder, f"{name}.py"), os.path.join(folder, name, "__init__.py")}
    if (held := sys.modules.get(name)) is not None:
        found = getattr(held, "__file__", None) or ("" if hasattr(held, "__path__") else "a module of Python")
    else:
        found = getattr(importlib.util.find_spec(name), "origin", None) or ""
    if found and os.path.realpath(found) not in map(os.path.realpath, there):  # none: a folder without __init__.py
        raise YoloAttnError(f"'{entry}' cannot be imported: '{name}' is already the name of {found}; rename the file")


def _is_found(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _line_of(error: BaseException, entry: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == entry]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    return "" if line is None or isinstance(error, SyntaxError) else f" (line {line})"
