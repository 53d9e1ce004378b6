"""Base class of model mixins, and other access to ``ultralytics.YOLO``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    def _load(self, weights: str, task: str | None = None) -> None:
        self.open_file(weights, task)


def component(yolo: Any, name: str) -> type:
    """Return a class that an Ultralytics model uses for its task, e.g. ``trainer`` or ``validator``."""
    return yolo._smart_load(name)


def training_arguments() -> list[str]:
    """Return the names of the arguments that Ultralytics' training takes."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    return list(DEFAULT_CFG_DICT)
