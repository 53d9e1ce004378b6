"""Base class of model mixins, Ultralytics' command line, and other access to ``ultralytics.YOLO``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from yolo_attn.host.compat import patched

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


def run_command(words: Sequence[str], **models: type) -> None:
    """Run Ultralytics' command line in this process, which offers no argument for its words or its model classes.

    Args:
        words: What follows ``yolo``, e.g. ``["train", "model=yolo11n-ela.yaml", "data=coco8.yaml"]``.
        **models: Classes to use in place of those of ``ultralytics``, by their name there.
    """
    import ultralytics
    import ultralytics.cfg

    with patched(ultralytics, **models), patched(ultralytics.cfg, ARGV=["yolo", *words]):
        ultralytics.cfg.entrypoint()


def training_arguments() -> list[str]:
    """Return the names of the arguments that Ultralytics' training takes."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    return list(DEFAULT_CFG_DICT)
