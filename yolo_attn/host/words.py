"""Read what Ultralytics' command line takes from its source: importing it would import torch, which takes seconds."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from yolo_attn.errors import YoloAttnError, one_of


def modes() -> list[str]:
    """Return what Ultralytics' command line does with a model: ``train``, ``val``, ..."""
    return _strings(_assigned("MODES", _source("cfg/__init__.py").body))


def tasks() -> list[str]:
    """Return the tasks of Ultralytics: ``detect``, ``segment``, ..."""
    return _strings(_assigned("TASKS", _source("cfg/__init__.py").body))


def special_commands() -> list[str]:
    """Return the commands of Ultralytics that need no model: ``help``, ``checks``, ``settings``, ..."""
    return _strings(_assigned("special", ast.walk(_entrypoint())))


def host_version() -> str:
    """Return the version of the installed Ultralytics."""
    return _strings(_assigned("__version__", _source("__init__.py").body))[0]


def arguments() -> dict[str, tuple[str, list[str]]]:
    """Return what Ultralytics says of each of its arguments, and the values it names.

    Examples:
        >>> arguments()["plots"][1]
        ['True', 'False']
    """
    lines = (_folder() / "cfg" / "default.yaml").read_text(encoding="utf-8").splitlines()
    found = [pair for line in lines if (pair := re.match(r"(\w+):[^#]*# *\((.+?)\) *(.*)", line))]
    return {key: (text, _values(kind, text)) for key, kind, text in (pair.groups() for pair in found)}


def data_sets() -> list[str]:
    """Return the data YAMLs of Ultralytics by name."""
    return sorted(file.name for file in (_folder() / "cfg" / "datasets").glob("*.yaml"))


def merged(words: Sequence[str]) -> list[str]:
    """Join words around a lone ``=`` and within brackets, as Ultralytics does.

    Examples:
        >>> merged(["imgsz", "=", "[640,", "320]", "mode=", "train"])
        ['imgsz=[640,320]', 'mode=train']
    """
    text = re.sub("\0=\0|\0=|=\0", "=", "\0".join(words))
    found: list[str] = []
    for word in text.split("\0"):
        is_open = bool(found) and found[-1].count("[") > found[-1].count("]")
        found[-1:] = [found[-1] + word] if is_open else [*found[-1:], word]
    return found


def without_key(words: Sequence[str], key: str) -> tuple[list[str], str | None]:
    """Take ``key=value`` out of words; return the others, and the last value given, if there is one.

    Examples:
        >>> without_key(["train", "init", "=", "identity", "epochs=3"], "init")
        (['train', 'epochs=3'], 'identity')
    """
    others, value = [], None
    for word in merged(words):
        name, equals, given = (part.strip() for part in _bare(word).partition("="))
        if equals and name == key:
            value = given
        else:
            others.append(word)
    return others, value


def asked_mode(words: Sequence[str]) -> str | None:
    """Return the mode that words ask for, in any of the ways Ultralytics takes: by name, ``mode=``, in ``cfg=FILE``."""
    asked: str | None = None
    in_file: str | None = None
    for word in map(_bare, merged(words)):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals and word in modes():
            asked = word
        elif equals and key == "mode":
            asked = value
        elif equals and key == "cfg":
            in_file = in_file or _mode_in_file(value)  # of several files the first holds
    return asked or in_file


def special_command(words: Sequence[str], own: Iterable[str] = ()) -> str | None:
    """Return the first command among words that needs no model, by its full name, if there is one.

    Args:
        words: What follows the name of the program.
        own: Further words that may have been meant, for the message.

    Raises:
        YoloAttnError: If Ultralytics has no such mode, task, command or argument.
    """
    specials, (switches, settings) = special_commands(), _arguments()
    names = {form: name for name in specials for form in (name, name[0], name.removesuffix("s"))}
    known = {*modes(), *tasks(), *switches}
    for word in map(_bare, merged(words)):
        if "=" in word or word in known:
            continue
        if name := names.get(word.lower().removeprefix("-")):
            return name
        if word in settings:  # without a value, which Ultralytics says
            return None
        also = [*tasks(), *specials, *switches, *settings]
        raise YoloAttnError(one_of("command", word, [*modes(), *own], also=also))
    return None


def _values(kind: str, text: str) -> list[str]:
    """Return the values of an argument that its description lists."""
    if kind.startswith("bool"):
        return ["True", "False"]
    listed = re.search(r"[\w.]+(?:\|[\w.]+){2,}|[\w.]+(?:, [\w.]+){2,},? *(?:or )?[\w.]*", text)
    return [] if kind != "str" or not listed else [word for word in re.findall(r"[\w.]+", listed[0]) if word != "or"]


def _bare(word: str) -> str:
    return word.removeprefix("--").removesuffix(",")


def _mode_in_file(name: str) -> str | None:
    import yaml

    try:
        held = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # Ultralytics says what is wrong with it
        return None
    return held.get("mode") if isinstance(held, dict) else None


def _arguments() -> tuple[set[str], set[str]]:
    """Return the arguments that may stand alone for ``True``, and those that need a value."""
    lines = (_folder() / "cfg" / "default.yaml").read_text(encoding="utf-8").splitlines()
    pairs = [pair for line in lines if (pair := re.match(r"(\w+): *(\w*)", line))]
    found = {pair[1]: pair[2] for pair in pairs}
    tested = [node.comparators[0] for node in ast.walk(_entrypoint()) if isinstance(node, ast.Compare)]
    named = [word for node in tested if isinstance(node, ast.Set) for word in _strings(node)]
    switches = {name for name, value in found.items() if value in ("True", "False")} | set(named)
    return switches, set(found) - switches


# --- the source -------------------------------------------------------------------------------------------------------
def _folder() -> Path:
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("ultralytics is not installed", name="ultralytics")
    return Path(spec.submodule_search_locations[0])


@functools.cache
def _source(name: str) -> ast.Module:
    return ast.parse((_folder() / name).read_text(encoding="utf-8"))


def _entrypoint() -> ast.AST:
    body = _source("cfg/__init__.py").body
    return next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "entrypoint")


def _assigned(name: str, nodes: Iterable[ast.AST]) -> ast.AST:
    """Return what the first assignment to a name assigns."""
    for node in nodes:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value
    raise LookupError(f"the command line of Ultralytics has no {name}")


def _strings(node: ast.AST) -> list[str]:
    """Return the strings of a tuple, set or call of one, the keys of a dict, or a single string, in their order."""
    if isinstance(node, ast.Call):
        return _strings(node.args[0])
    values = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [node])
    return [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
