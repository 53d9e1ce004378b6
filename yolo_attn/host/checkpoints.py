"""Open checkpoints, models and state dicts as sources of weights.

A checkpoint is a pickle: unpickled in full, it runs any code it names. It is first loaded with known classes only,
Ultralytics' and the registered blocks; a file that needs more is unpickled in full, with a warning on stderr.
"""

from __future__ import annotations

import functools
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

from yolo_attn.errors import YoloAttnError, like, nearest_file
from yolo_attn.host.missing_classes import name_missing_classes, refuse_missing_modules
from yolo_attn.host.safe_load import loads_are_restricted, restricted_loads

Opened = TypeVar("Opened")


def restricted_first(source: str | Path, load: Callable[[], Opened]) -> Opened:
    """Load with known classes only; if that is refused, warn in one line on stderr and unpickle in full.

    With ``ULTRALYTICS_SAFE_LOAD=1`` nothing is unpickled in full.

    Args:
        source: The file that is opened, for the warning.
        load: Opens it by way of Ultralytics.

    Returns:
        What ``load`` returns.

    Raises:
        YoloAttnError: If there is no such file, or a class in it cannot be imported; also the error that Ultralytics
            would raise.
    """
    try:
        with name_missing_classes(source):
            return _restricted_first(source, load)
    except YoloAttnError:
        raise
    except FileNotFoundError as error:
        raise like(error, f"no weights at '{source}'{_nearest_file(Path(source))}") from error


def _restricted_first(source: str | Path, load: Callable[[], Opened]) -> Opened:
    if loads_are_restricted() or Path(source).suffix.lower() not in (".pt", "") or Path(source).is_dir():
        return load()
    with restricted_loads() as able:
        try:
            if able:
                return load()
        except TypeError as error:  # Ultralytics' own, around torch's refusal
            if not isinstance(error.__cause__, pickle.UnpicklingError):
                raise
            reason = _refused_class(error.__cause__)
    refuse_missing_modules(source)
    _warn_of_full_load(str(source), reason if able else "the installed Ultralytics or torch cannot do it otherwise")
    return load()


def _refused_class(error: pickle.UnpicklingError) -> str | None:
    named = re.search(r"GLOBAL (\S+)", str(error))
    return f"it needs {named[1]}, which is neither Ultralytics' nor a registered block" if named else None


@functools.cache
def _warn_of_full_load(source: str, reason: str | None) -> None:
    if reason:  # a broken file raises when it is opened
        print(
            f"yolo-attn: {source} is unpickled in full, which runs any code it names, because {reason}: open only "
            f"files you trust",
            file=sys.stderr,
        )


def open_weights(source: str | Path | Mapping[str, Any] | nn.Module) -> nn.Module | Mapping[str, torch.Tensor]:
    """Return the model that holds the weights, or the state dict where there are only weights.

    Args:
        source: A checkpoint's path, a loaded checkpoint, a model, a state dict or the path of one.

    Raises:
        YoloAttnError: If the file is missing or unreadable, or holds no YOLO model.
    """
    if isinstance(source, Mapping):
        return source if _is_state_dict(source) else open_weights(_stored_model(source))
    return open_checkpoint(source)[0] if isinstance(source, (str, Path)) else yolo_model(source)


def open_checkpoint(source: str | Path) -> tuple[nn.Module | Mapping[str, torch.Tensor], dict[str, Any]]:
    """Return a file's model, or the state dict where there are only weights, and the checkpoint.

    Raises:
        YoloAttnError: If the file is missing or unreadable, or holds no YOLO model.
    """
    try:
        opened = _open_file(source)
        return yolo_model(opened), opened.ckpt
    except YoloAttnError:
        if (state := _read_state_dict(source)) is None:
            raise
        return state, {}


def _stored_model(checkpoint: Mapping[str, Any]) -> Any:
    return next((checkpoint[k] for k in ("ema", "model", "state_dict") if checkpoint.get(k) is not None), None)


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())


def _read_state_dict(path: Any) -> Mapping[str, torch.Tensor] | None:
    if not isinstance(path, (str, Path)) or not Path(path).is_file():
        return None
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # not a state dict
        return None
    held = held if _is_state_dict(held) or not isinstance(held, Mapping) else _stored_model(held)
    return held if _is_state_dict(held) else None


def without_training_state(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint that no training resumes from, as Ultralytics leaves that of a finished training."""
    state = ("optimizer", "best_fitness", "stopper", "ema", "updates", "scaler")
    return {**checkpoint, **{k: None for k in state if k in checkpoint}, "epoch": -1} if checkpoint else {}


def open_source(source: str | Path | Mapping[str, Any] | nn.Module) -> nn.Module:
    """Return the model of a checkpoint path, a loaded checkpoint, or a model itself.

    Raises:
        YoloAttnError: If the file is missing or unreadable, or holds no YOLO model.
    """
    if isinstance(source, Mapping):
        source = _stored_model(source)
    return yolo_model(_open_file(source) if isinstance(source, (str, Path)) else source)


def _open_file(source: str | Path) -> Any:
    """Return a checkpoint as Ultralytics opens it."""
    if not str(source).lower().endswith(".pt"):
        raise like(AssertionError, f"weights '{source}' are not a .pt checkpoint")
    from ultralytics import YOLO

    try:
        return restricted_first(source, lambda: YOLO(str(source)))
    except YoloAttnError:
        raise
    except (TypeError, RuntimeError, EOFError, KeyError, AttributeError, OSError, ConnectionError) as error:
        raise like(error, f"weights '{source}' cannot be read: {_first_line(error)}") from error


def _nearest_file(missing: Path) -> str:
    """Return a suggestion for a missing checkpoint: the file in its folder with the most similar name."""
    return nearest_file(missing, "*.pt", also=GITHUB_ASSETS_NAMES if missing.parent == Path(".") else ())


def yolo_model(source: Any) -> nn.Module:
    """Return the model that holds the rows, from one of Ultralytics' wrappers or the model itself.

    Raises:
        YoloAttnError: If there is none.
    """
    model = source
    while not isinstance(getattr(model, "model", None), nn.Sequential):  # YOLO(...) holds a model that holds the rows
        model = getattr(model, "model", None)
        if not isinstance(model, nn.Module):
            raise YoloAttnError(f"{type(source).__name__} holds no YOLO model built of rows")
    return model


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
