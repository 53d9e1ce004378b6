"""Wrap Ultralytics' ``parse_model`` and ``yaml_model_load``, so that they build models with attention.

A model none of whose rows is attention goes to Ultralytics untouched, and what Ultralytics raises goes through.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like, one_of
from yolo_attn.host.compat import tasks
from yolo_attn.host.explain import name_row_in_errors
from yolo_attn.host.model import host_model_names
from yolo_attn.host.model_files import shipped_models, unscaled
from yolo_attn.host.registry import PREFIX, aliases_of, is_known, names, unknown_block
from yolo_attn.host.row_names import POSITIONS, has_attention, is_module, is_taken, names_of, with_own_names
from yolo_attn.host.rows import check_head, prepare_rows
from yolo_attn.host.said import say_once
from yolo_attn.host.wiring import rewired_rows, unread_rows

if TYPE_CHECKING:
    from types import ModuleType


# --- parse_model ------------------------------------------------------------------------------------------------------
def parse(host: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call Ultralytics' ``parse_model``, with the rows of a model with attention checked and prepared for it."""
    model, globals_ = args[0] if args else kwargs.get("d"), tasks()
    if isinstance(model, Mapping):
        model = with_own_names(model, globals_)
    _say_what_is_taken(model, globals_)
    if not isinstance(model, Mapping) or not has_attention(model, globals_):
        with _misspelt_blocks_explained(model, globals_):
            return host(*args, **kwargs)
    prepared, has_extra_row = prepare_rows(model, globals_)
    for fault in (*unread_rows(model), *rewired_rows(model)):
        say_once(str(fault), warning=True)
    if (given := model.get("ch")) and given != model.get("channels", 3):
        say_once(f"ch: {given} is not read by Ultralytics; write channels: {given} for the image's", warning=True)
    with name_row_in_errors(model), _activation_restored_after_errors(model, globals_):
        layers, saved = host(prepared, *args[1:], **kwargs) if args else host(**{**kwargs, "d": prepared})
    return (layers[:-1] if has_extra_row else layers), saved


@contextlib.contextmanager
def _activation_restored_after_errors(model: Mapping[str, Any], host: ModuleType) -> Iterator[None]:
    """Restore the default activation, which Ultralytics leaves to all later models where it could not build one.

    Ultralytics holds it for the whole process: models of several activations cannot be built in threads at once.
    """
    before = host.Conv.default_act
    try:
        yield
    except Exception:
        if model.get("activation"):
            host.Conv.default_act = before
        raise


@contextlib.contextmanager
def _misspelt_blocks_explained(model: Any, host: ModuleType) -> Iterator[None]:
    """Name the nearest block where Ultralytics does not know a row's name and it reads like that of a block."""
    try:
        yield
    except KeyError as error:
        name, rows = error.args[0] if error.args else None, list(names_of(model))
        if name in rows and (reason := _misspelt(name, host)):
            raise like(error, f"row {rows.index(name)} {name!r}: {reason}") from error
        raise


def _misspelt(name: str, host: ModuleType) -> str:
    """Return the error text for a name that is probably that of a block, or of a host block that holds one."""
    given, of_ours = name.removeprefix(PREFIX), [n for block in names() for n in (block, *aliases_of(block))]
    modules = [held for held in vars(host) if is_module(held, host)]
    outer, cut, block = given.partition("@")[0].rpartition("_")
    near = difflib.get_close_matches(block, of_ours if cut else [*of_ours, *modules], n=1, cutoff=0.75)
    alike = bool(near and near[0] in of_ours and near[0][0].lower() == block[0].lower())
    if not (alike or name.startswith(PREFIX)):
        return ""
    if outer in modules:
        return one_of("place", given.partition("@")[2], POSITIONS) if is_known(block) else unknown_block(block)
    return unknown_block(given, also=modules)


def _say_what_is_taken(model: Any, host: ModuleType) -> None:
    for name in names_of(model):
        if is_known(name) and not name.startswith(PREFIX) and is_taken(name, host):
            _say_what_has(name, vars(host)[name])


def _say_what_has(name: str, held: Any) -> None:
    owner = f"{getattr(held, '__module__', '?')}.{getattr(held, '__qualname__', type(held).__name__)}"
    say_once(
        f"'{name}' is {owner} in model YAMLs of your own, because ultralytics.nn.tasks.{name} is; "
        f"{PREFIX}{name} is the block of yolo_attn.",
        warning=True,
    )


# --- yaml_model_load --------------------------------------------------------------------------------------------------
def load_yaml(host: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call Ultralytics' ``yaml_model_load``, which then also finds the shipped YAMLs by their bare names."""
    path = args[0] if args else kwargs.get("path")
    file = _file_not_found_by_host(path) if isinstance(path, (str, Path)) else None
    if file is None:
        with _nearest_shipped_named(path):
            model = host(*args, **kwargs)
    else:
        _refuse_unknown_family(file)
        model = {**host(file), "scale": tasks().guess_model_scale(path), "yaml_file": str(path)}
        model = dict(with_own_names(model, tasks()))
    if has_attention(model, tasks()):
        check_head(model, tasks(), path)
    return model


def _file_not_found_by_host(path: str | Path) -> Path | None:
    """Return the file of a model name that Ultralytics does not find, or ``None`` where it does or there is none.

    It does not know the shipped YAMLs. Of ``2nd-try/yolo11n-mine.yaml`` it takes the 'n' of the folder for the scale.
    """
    path = Path(path)
    if not path.name:
        return None
    plain = path.with_name(unscaled(path.name))
    if os.path.isfile(path):  # Path.is_file() raises for a name that is too long
        return None
    if path.parent == Path("."):
        shipped = shipped_models()
        return None if os.path.isfile(plain) else shipped.get(path.name) or shipped.get(plain.name)
    by_host = re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", str(path))
    return plain if os.path.isfile(plain) and Path(by_host) != plain and _has_attention(plain) else None


def _has_attention(file: Path) -> bool:
    import yaml

    try:
        return has_attention(yaml.safe_load(file.read_text(encoding="utf-8")), tasks())
    except (ValueError, OSError, yaml.YAMLError):
        return False


@contextlib.contextmanager
def _nearest_shipped_named(path: Any) -> Iterator[None]:
    """Add the nearest shipped YAML to Ultralytics' error for a file that does not exist, if it is much alike."""
    try:
        yield
    except FileNotFoundError as error:
        near = nearest_model(Path(path).name) if isinstance(path, (str, Path)) else None
        if near not in shipped_models():
            raise
        raise like(error, f"{error}. Did you mean '{near}'?") from error


def nearest_model(name: str) -> str | None:
    """Return the file name of the shipped or stock model that a name was probably meant to be."""
    family, _, block = unscaled(name).partition("-")
    near = difflib.get_close_matches(f"{family}-{block}", [*shipped_models(), *host_model_names()], n=1, cutoff=0.8)
    if not near:
        return None
    alike = difflib.SequenceMatcher(None, Path(block).stem, Path(near[0].partition("-")[2]).stem).ratio()
    return near[0] if alike >= 0.6 else None


def _refuse_unknown_family(file: Path) -> None:
    """Refuse a shipped YAML of a family that this Ultralytics does not have: it may read the rows as something else."""
    family = file.name.partition("-")[0]
    if shipped_models().get(file.name) != file or f"{family}.yaml" in host_model_names():
        return
    import ultralytics

    known = sorted({name.partition("-")[0] for name in shipped_models()} & {n[:-5] for n in host_model_names()})
    raise YoloAttnError(
        f"'{file.name}' is made of {family}.yaml, which ultralytics {ultralytics.__version__} does not have. "
        f"Upgrade it, or take a ready model of {' or '.join(known)}"
    )
