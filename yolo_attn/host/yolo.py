"""Base class of model mixins, and other access to ``ultralytics.YOLO``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like
from yolo_attn.host.model import fault_of, load_model_dict

if TYPE_CHECKING:
    _Model: Any
else:
    _Model = object


class ModelHooks(_Model):
    """Base class of model mixins, directly in front of ``ultralytics.YOLO`` or another of its models.

    Attributes:
        model: The model, or the name of an exported file.
        task: ``detect``, ``segment``, ...
        ckpt: The checkpoint it was opened from; where one is set, ``train`` starts from ``model``.
        overrides: Arguments for the next call.
    """

    model: Any
    task: str
    ckpt: Any
    ckpt_path: Any
    overrides: dict[str, Any]
    predictor: Any

    def open_file(self, weights: str, task: str | None = None) -> None:
        """Open a checkpoint or an exported file; called by the constructor."""
        super()._load(weights, task)

    def require_pytorch(self) -> None:
        """Check that this is a model and not an exported file.

        Raises:
            TypeError: If it is an exported file.
        """
        self._check_is_pytorch_model()

    def rebuild(self, model: dict[str, Any]) -> None:
        """Build the model again from another model dict of the same layers, with weights of its own."""
        before = self.model
        device = next(before.parameters()).device
        self.model = type(before)(model, ch=model.get("channels", 3), verbose=False).to(device)
        for name in ("args", "task", "names"):
            setattr(self.model, name, getattr(before, name))

    def _new(self, cfg: str, *args: Any, **kwargs: Any) -> None:
        """Build a model YAML; an error that is one of the file says so in one line, and is of the type it was."""
        try:
            super()._new(cfg, *args, **kwargs)
        except YoloAttnError:
            raise
        except Exception as error:
            if reason := fault_of(cfg):
                raise like(error, reason) from error
            raise

    def _load(self, weights: str, task: str | None = None) -> None:
        self.open_file(weights, task)


def is_yaml(model: Any) -> bool:
    """Tell whether Ultralytics builds a model from what is given, instead of opening it."""
    return isinstance(model, (str, Path)) and str(model).strip().lower().endswith((".yaml", ".yml"))


def head_of_yaml(path: str | Path) -> str:
    """Return the class name of the head in a model YAML, empty where its last row names none.

    Raises:
        YoloAttnError: If there is no such file, or it holds no model.
    """
    rows = load_model_dict(str(path).strip())["head"]
    try:
        return str(rows[-1][2])
    except (TypeError, LookupError):
        return ""


def head_of(yolo: Any) -> str:
    """Return the class name of an opened model's head, empty for an exported one."""
    rows: Any = getattr(yolo.model, "model", None)
    return type(rows[-1]).__name__ if hasattr(rows, "__getitem__") else ""


def model_class(head: str) -> str:
    """Return the name of Ultralytics' class for models with a head."""
    starts = {"RTDETR": "RTDETR", "World": "YOLOWorld", "YOLOE": "YOLOE"}
    return next((name for start, name in starts.items() if head.startswith(start)), "YOLO")


def default_of(function: Callable[..., Any], parameter: str) -> Any:
    """Return the default of a parameter of one of Ultralytics' functions or classes."""
    return inspect.signature(function).parameters[parameter].default


def component(yolo: Any, name: str) -> type:
    """Return a class that an Ultralytics model uses for its task, e.g. ``trainer`` or ``validator``."""
    return yolo._smart_load(name)


def training_arguments() -> list[str]:
    """Return the names of the arguments that Ultralytics' training takes."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    return list(DEFAULT_CFG_DICT)
