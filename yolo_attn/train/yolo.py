"""Train, validate and run Ultralytics models with attention blocks, keeping pretrained weights row by row."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ultralytics
from torch import nn

from yolo_attn.errors import YoloAttnError, like
from yolo_attn.host.checkpoints import open_source, restricted_first
from yolo_attn.host.command import own_training_command, run_command
from yolo_attn.host.compat import workers_receive_model
from yolo_attn.host.data import check_data
from yolo_attn.host.model_files import write_model
from yolo_attn.host.yolo import ModelHooks
from yolo_attn.train import finished
from yolo_attn.train.finished import epochs_if_complete, is_in_run_folder
from yolo_attn.train.freeze import check_freeze
from yolo_attn.train.trainer import log_transfer, trainer_class
from yolo_attn.weights.transfer import check_source, transfer_weights

_DETECTION_LIKE = ("detect", "segment", "pose", "obb")


class WeightTransferMixin(ModelHooks):
    """Mixin for an Ultralytics model: ``load`` and ``train`` transfer weights by row."""

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """Ultralytics' classes by task, with trainers that transfer weights by row."""
        return {
            task: {**parts, "trainer": trainer_class(parts["trainer"])} if "trainer" in parts else parts
            for task, parts in super().task_map.items()
        }

    def train(self, trainer: type | None = None, **kwargs: Any) -> Any:
        """Check data and weights, then train; a list of sets is trained on one after the other, each from here.

        Args:
            trainer: A trainer class to use as it is, instead of the one that transfers weights by row.
            **kwargs: Arguments of ``ultralytics.YOLO.train``.

        Raises:
            YoloAttnError: If data or weights are missing, unreadable or of another architecture, or a complete training
                is to be resumed.
        """
        if resume := kwargs.get("resume"):
            self._refuse_complete(resume)
        elif not kwargs.get("cfg"):
            if self.task in _DETECTION_LIKE and isinstance(kwargs.get("data"), (str, Path)):
                _check_training_data(kwargs["data"], str(kwargs.get("split") or ""))
            if isinstance(kwargs.get("pretrained"), (str, Path)):
                self._start_from(kwargs["pretrained"])
        several = isinstance(kwargs.get("data"), (list, tuple))
        if several:
            self._check_freeze(kwargs)
        with own_training_command(needed=several):
            return super().train(trainer, **kwargs)

    def tune(self, use_ray: bool = False, *args: Any, **kwargs: Any) -> Any:
        """Search for better training arguments; each training keeps the weights of this model.

        Args:
            use_ray: Search by Ray Tune.
            *args: Arguments of ``ultralytics.YOLO.tune``.
            **kwargs: Arguments of ``ultralytics.YOLO.tune``.

        Raises:
            YoloAttnError: If the weights are missing, unreadable or of another architecture.
        """
        if use_ray:
            return super().tune(use_ray, *args, **kwargs)
        if isinstance(kwargs.get("pretrained"), (str, Path)):
            self._start_from(kwargs["pretrained"])
        self._check_freeze(kwargs)
        with own_training_command(needed=True):
            return super().tune(use_ray, *args, **kwargs)

    def _refuse_complete(self, resume: Any) -> None:
        """Refuse to resume a complete training, where Ultralytics starts another one, on data of its own choice."""
        if resume is True:
            if is_in_run_folder(self.ckpt_path) and (epochs := epochs_if_complete(self.ckpt)) is not None:
                raise YoloAttnError(finished.describe(self.ckpt_path, epochs))
        elif isinstance(resume, (str, Path)) and Path(resume).is_file():
            try:
                checkpoint = type(self)(str(resume)).ckpt
            except Exception:  # Ultralytics says what is wrong with the file
                return
            if (epochs := epochs_if_complete(checkpoint)) is not None:
                raise like(AssertionError, finished.describe(resume, epochs))

    def _check_freeze(self, arguments: Mapping[str, Any]) -> None:
        """Refuse now what each of several trainings would refuse: they are given a checkpoint, weights or not."""
        if isinstance(wanted := arguments.get("freeze"), str):
            given = arguments.get("pretrained", self.overrides.get("pretrained", True))
            check_freeze(wanted, self.model, weights=bool(self.ckpt) and given is not False)

    def _start_from(self, weights: str | Path) -> None:
        """Load the weights now; Ultralytics before 8.4 does not when asked from Python for a model YAML."""
        if self.ckpt:
            check_source(self.model, weights)
        else:
            transfer_weights(self.model, weights)
            self.ckpt = {"model": self.model}  # with a checkpoint set, train() starts from self.model

    def open_file(self, weights: str, task: str | None = None) -> None:
        """Open a file, a checkpoint from known classes alone where that is possible."""
        restricted_first(weights, lambda: super(WeightTransferMixin, self).open_file(weights, task))

    def load(self, weights: Any = "yolo11n.pt", verbose: bool = False) -> Any:
        """Transfer weights into this model by row.

        Args:
            weights: A checkpoint's path, a loaded checkpoint, or a model.
            verbose: Log the transfer row by row instead of in one line.

        Returns:
            This model.
        """
        self.require_pytorch()
        report = transfer_weights(self.model, weights)
        log_transfer(report, by_row=verbose)
        self.overrides.pop("pretrained", None)
        if isinstance(weights, (str, Path)) and not workers_receive_model():
            self.overrides["pretrained"] = str(weights)
        self.ckpt, self.ckpt_path = {"model": self.model}, None  # see _start_from
        self.predictor = None
        return self


class YOLO(WeightTransferMixin, ultralytics.YOLO):  # type: ignore[misc]
    """``ultralytics.YOLO`` that keeps pretrained weights when rows were inserted, in ``load`` and in ``train``.

    A name with ``rtdetr`` in it opens as ``ultralytics.RTDETR``, as on Ultralytics' command line.

    Examples:
        >>> model = YOLO("yolo11n-ela.yaml")
        >>> model.task
        'detect'
    """

    def __init__(self, model: Any = "yolo11n.pt", *args: Any, **kwargs: Any):
        if "rtdetr" in Path(str(model)).stem.lower():
            self.__class__ = _with_weight_transfer(ultralytics.RTDETR)
            self.__init__(model)  # type: ignore[misc]
            return
        super().__init__(model, *args, **kwargs)
        if not isinstance(self, WeightTransferMixin):  # Ultralytics changed the class, e.g. for an RT-DETR head
            self.__class__ = _with_weight_transfer(type(self))


def _check_training_data(data: str | Path, split: str) -> None:
    try:
        check_data(data, split=split)
    except YoloAttnError as error:
        raise like(RuntimeError, error) from error.__cause__  # as Ultralytics' trainer


@functools.cache
def _with_weight_transfer(host: type) -> type:
    return type(host.__name__, (WeightTransferMixin, host), {"__module__": __name__})


def run_host_command(words: Sequence[str]) -> None:
    """Run ``yolo``'s command line in this process with the model classes of this module.

    Args:
        words: What follows ``yolo``, e.g. ``["train", "model=yolo11n-ela.yaml", "data=coco8.yaml"]``.
    """
    run_command(words, YOLO=YOLO, RTDETR=_with_weight_transfer(ultralytics.RTDETR))


def open_model(checkpoint: Path, fuse: bool = True) -> nn.Module:
    """Return a checkpoint's model in evaluation mode, fused for inference unless asked otherwise."""
    model = YOLO(str(checkpoint)).model.eval()
    return model.fuse(verbose=False) if fuse else model


def check_model_dict(name: str, model: Mapping[str, Any], weights: str | None) -> str:
    """Build a model dict, check that the weights fit it, and return its task.

    Raises:
        YoloAttnError: If it cannot be built, does not detect boxes, or the weights are not for it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        built = YOLO(str(write_model(model, Path(scratch))))
    if built.task not in _DETECTION_LIKE:
        raise YoloAttnError(f"{name} is a model for '{built.task}'; a comparison needs one that detects boxes")
    if weights:
        check_source(built, weights)
    return built.task


def resolve_weights(name: str) -> Path:
    """Return the file of a checkpoint by name; an official one may lie where Ultralytics keeps it.

    Raises:
        YoloAttnError: If it is missing or unreadable.
    """
    return Path(str(open_source(name).pt_path)).resolve()
