"""Train, validate and run Ultralytics models with the blocks known and pretrained weights kept.

The only caller of Ultralytics' train and val. A trainer here is Ultralytics' own with a few differences: the weights it
is given go to the rows they belong to, its gates are logged, and it can go on where it was stopped. It is a class of
this module, so that the worker processes of a multi-GPU training, which rebuild the trainer from its class, import this
package too.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import ultralytics
import ultralytics.cfg
from torch import nn
from ultralytics.cfg import get_save_dir
from ultralytics.engine import trainer as host_trainer
from ultralytics.engine.results import Results
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, RANK, dist, torch_utils

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.gates.host import GateLog
from yolo_attn.host.checkpoints import open_source, restricted_first
from yolo_attn.host.compat import patched, unwrapped, workers_get_the_model
from yolo_attn.host.data import check_data
from yolo_attn.host.derived_class import derive, host_of
from yolo_attn.host.model_files import write_model
from yolo_attn.train.freeze import base_layers, in_words
from yolo_attn.train.outcome import SaysHowItEnded
from yolo_attn.train.resume import Resumable
from yolo_attn.weights.transfer import TransferReport, check_source, transfer_weights

_DETECTION_LIKE = ("detect", "segment", "pose", "obb")


# --- trainers ---------------------------------------------------------------------------------------------------------
class RowTransfer:
    """Mixin for an Ultralytics trainer: ``pretrained=`` weights follow their rows, and ``freeze=base`` is known."""

    def __init__(self, *args: Any, **kwargs: Any):
        with patched(host_trainer, get_save_dir=_own_folder):
            super().__init__(*args, **kwargs)

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """Build the model as the host's trainer does, then give each row the weights that belong to it.

        ``freeze=base`` turns into the layers it stands for here, because a multi-GPU training hands model and arguments
        to its workers after this.
        """
        model = super().get_model(cfg=cfg, weights=None, verbose=verbose)
        report = None
        if weights is not None:
            report = transfer_weights(model, weights)
            _log_transfer(report, by_row=verbose and bool(self.args.verbose))
        if isinstance(self.args.freeze, str):
            self.args.freeze = _layers_to_freeze(self.args.freeze, model, report)
        return model

    def _setup_train(self, *args: Any, **kwargs: Any) -> Any:
        """Set up training as the host does; its ``freeze`` reaches what lies below a layer, here also the layer itself.

        That is a parameter or a normalisation named on its own, as where attention sits beside it.
        """
        done = super()._setup_train(*args, **kwargs)
        frozen = self._frozen_by_name()
        for name, parameter in unwrapped(self.model).named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        if not hasattr(super(), "_model_train"):  # an older host, which freezes no statistics
            self.add_callback("on_train_batch_start", RowTransfer._hold_frozen_norms)
        return done

    def _model_train(self) -> None:
        """Put the model into training mode as the host does, frozen normalisations left out."""
        super()._model_train()
        self._hold_frozen_norms()

    def _hold_frozen_norms(self) -> None:
        frozen = tuple(f"{name}." for name in self._frozen_by_name())
        for name, module in unwrapped(self.model).named_modules():
            if f"{name}.".startswith(frozen) and isinstance(module, nn.BatchNorm2d):
                module.eval()

    def _frozen_by_name(self) -> set[str]:
        return {f"model.{layer}" for layer in self.args.freeze} if isinstance(self.args.freeze, list) else set()


class Training(SaysHowItEnded, RowTransfer, GateLog, Resumable):
    """Mixin for an Ultralytics trainer: all that a training of this package does besides."""

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Log to TensorBoard where the host does."""
        writer = getattr(sys.modules.get("ultralytics.utils.callbacks.tensorboard"), "WRITER", None)
        for name, value in scalars.items() if writer else ():
            writer.add_scalar(name, value, epoch)


def _own_folder(args: Any, name: str | None = None) -> Path:
    """Return the run's folder as the host does, made at once: two trainings that begin together get one each."""
    while True:
        folder = Path(get_save_dir(args, name))
        if RANK not in (-1, 0) or args.exist_ok or getattr(args, "save_dir", None):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another was faster: the host counts on
            folder.mkdir()
            return folder


@functools.cache
def trainer_with_row_transfer(host: type) -> type:
    """Return a trainer class that is ``host`` with :class:`Training`, importable from this module by name."""
    if issubclass(host, RowTransfer):
        return host
    return derive(Training, host, __name__)


def __getattr__(name: str) -> type:
    """Rebuild a trainer class by name, as unpickling it in another process asks for it."""
    return trainer_with_row_transfer(host_of(name, __name__))


def _layers_to_freeze(wanted: str, model: nn.Module, report: TransferReport | None) -> list[str]:
    if wanted != "base":
        raise YoloAttnError(one_of("freeze", wanted, ["base", "a number of layers", "their list"]))
    layers = base_layers(model, report)
    LOGGER.info(in_words(model, report))
    return layers


def worker_program(trainer: Any) -> Path:
    """Write the program that the host gives to each process of a multi-GPU training, and return where it lies."""
    return Path(dist.generate_ddp_file(trainer))


def _log_transfer(report: TransferReport, by_row: bool) -> None:
    LOGGER.info(str(report) if by_row else report.summary())


# --- models -----------------------------------------------------------------------------------------------------------
class KeepsWeights:
    """Mixin for an Ultralytics model: ``load`` and ``train`` transfer weights along rows."""

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """The host's map with trainers that transfer along rows."""
        return {
            task: {**parts, "trainer": trainer_with_row_transfer(parts["trainer"])} if "trainer" in parts else parts
            for task, parts in super().task_map.items()
        }

    def train(self, trainer: type | None = None, **kwargs: Any) -> Any:
        """Train as the host does, once data and weights are known to be there and to fit.

        Args:
            trainer: A trainer class to use as it is, instead of the one that keeps weights.
            **kwargs: What ``ultralytics.YOLO.train`` takes.

        Raises:
            YoloAttnError: If data or weights are missing, unreadable or of another architecture.
        """
        if not (kwargs.get("resume") or kwargs.get("cfg")):
            if self.task in _DETECTION_LIKE and isinstance(kwargs.get("data"), (str, Path)):
                check_data(kwargs["data"])
            if isinstance(kwargs.get("pretrained"), (str, Path)):
                self._start_from(kwargs["pretrained"])
        return super().train(trainer, **kwargs)

    def _start_from(self, weights: str | Path) -> None:
        """Take the weights now, as Ultralytics before 8.4 did not when asked from Python for a model YAML."""
        if self.ckpt:
            check_source(self.model, weights)
        else:
            transfer_weights(self.model, weights)
            self.ckpt = {"model": self.model}  # with a checkpoint set, train() starts from self.model

    def _load(self, weights: str, task: str | None = None) -> None:
        """Open a file as the host does, a checkpoint from known classes alone where that is possible."""
        restricted_first(weights, lambda: super(KeepsWeights, self)._load(weights, task))

    def load(self, weights: Any = "yolo11n.pt", verbose: bool = False) -> Any:
        """Transfer weights into this model along rows.

        Args:
            weights: A checkpoint's path, a loaded checkpoint, or a model.
            verbose: List what came over by row, not only in one line.

        Returns:
            This model.
        """
        self._check_is_pytorch_model()
        report = transfer_weights(self.model, weights)
        _log_transfer(report, by_row=verbose)
        self.overrides.pop("pretrained", None)
        if isinstance(weights, (str, Path)) and not workers_get_the_model():
            self.overrides["pretrained"] = str(weights)
        self.ckpt, self.ckpt_path = {"model": self.model}, None  # see _start_from
        self.predictor = None
        return self


class YOLO(KeepsWeights, ultralytics.YOLO):
    """``ultralytics.YOLO`` whose pretrained weights survive inserted rows, in ``load`` and in training.

    A name with ``rtdetr`` in it opens as ``ultralytics.RTDETR``, as on Ultralytics' command line.

    Examples:
        >>> model = YOLO("yolo11n-ela.yaml")
        >>> model.task
        'detect'
    """

    def __init__(self, model: Any = "yolo11n.pt", *args: Any, **kwargs: Any):
        if "rtdetr" in Path(str(model)).stem.lower():
            self.__class__ = _keeping(ultralytics.RTDETR)
            self.__init__(model)
            return
        super().__init__(model, *args, **kwargs)
        if not isinstance(self, KeepsWeights):  # the host turned itself into another class, e.g. for an RT-DETR head
            self.__class__ = _keeping(type(self))


@functools.cache
def _keeping(host: type) -> type:
    return type(host.__name__, (KeepsWeights, host), {"__module__": __name__})


# --- the host's command line ------------------------------------------------------------------------------------------
def run_host_command(words: Sequence[str]) -> None:
    """Run ``yolo``'s own command line in this process, with the models of this module in place of the host's.

    Args:
        words: What follows ``yolo``, e.g. ``["train", "model=yolo11n-ela.yaml", "data=coco8.yaml"]``.
    """
    with _models_of_this_module(), patched(ultralytics.cfg, ARGV=["yolo", *words]):
        ultralytics.cfg.entrypoint()


@contextlib.contextmanager
def _models_of_this_module() -> Iterator[None]:
    ours = {"YOLO": YOLO, "RTDETR": _keeping(ultralytics.RTDETR)}
    with patched(ultralytics, **ours):
        yield


# --- what others ask of a model ---------------------------------------------------------------------------------------
def open_model(checkpoint: Path, fuse: bool = True) -> nn.Module:
    """Return a checkpoint's model in evaluation mode, fused for inference unless asked otherwise."""
    model = YOLO(str(checkpoint)).model.eval()
    return model.fuse(verbose=False) if fuse else model


def draw_predictions(checkpoint: Path, images: Sequence[Path], imgsz: int, scale: int = 2) -> list[np.ndarray]:
    """Return images, enlarged ``scale`` times, with a checkpoint's predictions drawn on them (BGR)."""
    pictures = [cv2.imread(str(image)) for image in images]
    drawn = []
    for picture, result in zip(
        pictures, YOLO(str(checkpoint)).predict(pictures, imgsz=imgsz, verbose=False), strict=True
    ):
        large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        boxes = result.boxes.data.clone()
        boxes[:, :4] *= scale
        drawn.append(Results(large, "", result.names, boxes=boxes).plot(line_width=1, font_size=8))
    return drawn


def check_model_dict(name: str, model: Mapping[str, Any], weights: str | None) -> str:
    """Build a model dict, see whether the weights fit it, and return its task.

    Raises:
        YoloAttnError: If it cannot be built, is for something else than boxes, or the weights are not for it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        built = YOLO(str(write_model(model, Path(scratch))))
    if built.task not in _DETECTION_LIKE:
        raise YoloAttnError(f"{name} is a model for '{built.task}'; a comparison needs one that detects boxes")
    if weights:
        check_source(built, weights)
    return built.task


def resolve_weights(name: str) -> Path:
    """Return the file a checkpoint's name stands for, which for an official name may lie where Ultralytics keeps it.

    Raises:
        YoloAttnError: If it is missing or unreadable.
    """
    return Path(open_source(name).pt_path).resolve()


def training_arguments() -> list[str]:
    """Return the names of the arguments that Ultralytics' training takes."""
    return list(DEFAULT_CFG_DICT)


def default_threads() -> int:
    """Return how many threads Ultralytics uses on the CPU."""
    return torch_utils.NUM_THREADS
