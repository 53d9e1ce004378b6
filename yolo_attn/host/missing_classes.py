"""Name the class of a user that a checkpoint needs and that was not imported, and say how it is."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pickle
import pickletools
import re
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Iterator
from pathlib import Path

from yolo_attn.errors import YoloAttnError, like

_NOT_A_USERS = {"ultralytics", "yolo_attn", "torch", "torchvision", "numpy", "models"}
"""Packages whose missing classes mean another release; ``models`` is YOLOv5's."""


@contextlib.contextmanager
def name_missing_classes(source: str | Path) -> Iterator[None]:
    """Convert the errors of opening a checkpoint whose classes cannot be imported.

    Args:
        source: The checkpoint.

    Raises:
        YoloAttnError: Also a ``ModuleNotFoundError`` or an ``AttributeError``; it names the class and its module.
    """
    try:
        yield
    except YoloAttnError:
        raise
    except ModuleNotFoundError as error:
        for module, name in _classes_in(Path(source)):
            if error.name and f"{module}.".startswith(f"{error.name}.") and _is_named(module):
                raise like(error, _message(source, module, name)) from error
        raise
    except AttributeError as error:
        named = re.search(r"Can't get attribute '([\w.]+)' on <module", str(error))
        for module, name in _classes_in(Path(source)):
            if named and named[1] == name and _is_named(module):
                raise like(error, _message(source, module, name)) from error
        raise
    except TypeError as error:  # Ultralytics' own, around torch's refusal
        if isinstance(error.__cause__, pickle.UnpicklingError):
            refuse_missing_modules(source)
            for module, name in _classes_in(Path(source)):
                if _is_of_another_release(module, name):
                    raise like(error, _message(source, module, name)) from error
        raise


def refuse_missing_modules(source: str | Path) -> None:
    """Refuse a checkpoint with a class of a package that is not here, which Ultralytics would look for on the network.

    Raises:
        YoloAttnError: Also a ``ModuleNotFoundError``; it names the class and its module.
    """
    for module, name in _classes_in(Path(source)):
        package = module.partition(".")[0]
        if _is_users(module) and package not in sys.modules and importlib.util.find_spec(package) is None:
            raise like(ModuleNotFoundError, _message(source, module, name))


def _classes_in(file: Path) -> list[tuple[str, str]]:
    """Return module and name of what a checkpoint imports."""
    try:
        with zipfile.ZipFile(file) as archive:
            pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        operations = [(code.name, argument) for code, argument, _ in pickletools.genops(pickled)]
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile):  # of another format, or damaged
        return []
    named = [str(argument).partition(" ") for code, argument in operations if code == "GLOBAL"]
    return [(module, name) for module, _, name in named]


def _is_users(module: str) -> bool:
    package = IMPORT_MAPPING.get(module, module).partition(".")[0]  # torch writes the names that Python 2 had
    return package not in {*_NOT_A_USERS, *sys.stdlib_module_names} or package == "__main__"


def _is_of_another_release(module: str, name: str) -> bool:
    """Tell whether the installed Ultralytics does not have a class that is one of Ultralytics by its module."""
    if not module.startswith("ultralytics."):
        return False
    try:
        return not hasattr(importlib.import_module(module), name.partition(".")[0])
    except ImportError:
        return True


def _is_named(module: str) -> bool:
    """Tell whether a class of a module is named that cannot be imported: a user's, or one of another Ultralytics."""
    return _is_users(module) or module.startswith("ultralytics.")


def _message(source: str | Path, module: str, name: str) -> str:
    if module == "__main__":
        return (
            f"'{source}' needs the class {name} of the script that saved it, and is opened by another: define the "
            f"class in a file of its own, and import it in both"
        )
    if module.startswith("ultralytics."):
        return (
            f"'{source}' needs the class {module}.{name}, which the installed Ultralytics does not have: it is of "
            f"another release, or of a fork. Open it there and save model.model.state_dict(), which "
            f"ya.transfer_weights takes"
        )
    return (
        f"'{source}' needs the class {module}.{name}, which cannot be imported here: give the file that defines it "
        f"with --import FILE (in Python: import it before opening)"
    )
