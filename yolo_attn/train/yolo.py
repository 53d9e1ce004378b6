"""Train, validate and run Ultralytics models with attention blocks, keeping pretrained weights row by row."""

from __future__ import annotations

import inspect
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ultralytics
from torch import nn

from yolo_attn.errors import YoloAttnError, like
from yolo_attn.host.checkpoints import open_checkpoint, open_source, restricted_first, without_training_state
from yolo_attn.host.command import own_training_command, run_command
from yolo_attn.host.compat import patched, train_reads_pretrained, workers_receive_model
from yolo_attn.host.data import check_data
from yolo_attn.host.loading import holds_attention
from yolo_attn.host.model_files import write_model
from yolo_attn.host.yolo import ModelHooks, default_of, head_of, head_of_yaml, is_yaml, model_class
from yolo_attn.models.row_init import GIVEN, with_init
from yolo_attn.train import finished
from yolo_attn.train.finished import epochs_if_complete, is_in_run_folder
from yolo_attn.train.freeze import check_freeze
from yolo_attn.train.trainer import trainer_class
from yolo_attn.weights.report import TransferReport, describe_changing
from yolo_attn.weights.reset import reset_blocks
from yolo_attn.weights.transfer import check_source, loads_by_row, transfer_weights

_LOG = logging.getLogger("ultralytics")
_DETECTION_LIKE = ("detect", "segment", "pose", "obb")
_HOST: Any = ultralytics.YOLO  # a command of Ultralytics has it replaced
_MODEL, _RTDETR = default_of(ultralytics.YOLO, "model"), default_of(ultralytics.RTDETR, "model")
_WEIGHTS = default_of(ultralytics.YOLO.load, "weights")


class WeightTransferMixin(ModelHooks):
    """Mixin for an Ultralytics model: ``load`` and ``train`` transfer weights by row.

    Attributes:
        init_of_command: ``init=`` of the command that runs in this process, which Ultralytics' parser does not know.
    """

    init_of_command: str | None = None
    _attention_is_new = False
    """Whether the attention of a model with weights was not among them."""

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """Ultralytics' classes by task, with trainers that transfer weights by row."""
        return {
            task: {**parts, "trainer": trainer_class(parts["trainer"])} if "trainer" in parts else parts
            for task, parts in super().task_map.items()
        }

    def train(self, trainer: type | None = None, *, init: str | None = None, **kwargs: Any) -> Any:
        """Check data and weights, then train; a list of sets is trained on one after the other, each from here.

        Args:
            trainer: A trainer class to use as it is, instead of the one that transfers weights by row.
            init: How attention starts that has no weights yet, ``paper`` or ``identity``; by default as the model YAML
                states.
            **kwargs: Arguments of ``ultralytics.YOLO.train``.

        Raises:
            YoloAttnError: If data or weights are missing, unreadable or of another architecture, or a complete training
                is to be resumed; or, for ``init``, if the attention is trained and started otherwise, or there is none.
        """
        if init := init or self.init_of_command:
            self._start_attention(init, kwargs)
        if resume := kwargs.get("resume"):
            self._refuse_complete(resume)
        elif not kwargs.get("cfg"):
            if self.task in _DETECTION_LIKE and isinstance(kwargs.get("data"), (str, Path)):
                _check_training_data(kwargs["data"], str(kwargs.get("split") or ""))
            if isinstance(kwargs.get("pretrained"), (str, Path)):
                self._start_from(kwargs["pretrained"], init)
            elif kwargs.get("pretrained") is not False:
                self._refuse_fused()
        several = isinstance(kwargs.get("data"), (list, tuple))
        if several:
            self._check_freeze(kwargs)
        self._attention_is_new = False  # once this training has ended
        with own_training_command(needed=several):
            return super().train(trainer, **kwargs)

    def tune(self, use_ray: bool = False, *args: Any, init: str | None = None, **kwargs: Any) -> Any:
        """Search for better training arguments; each training keeps the weights of this model.

        Args:
            use_ray: Search by Ray Tune.
            *args: Arguments of ``ultralytics.YOLO.tune``.
            init: As in ``train``.
            **kwargs: Arguments of ``ultralytics.YOLO.tune``.

        Raises:
            YoloAttnError: If the weights are missing, unreadable or of another architecture.
        """
        if init := init or self.init_of_command:
            self._start_attention(init, kwargs)
        if use_ray:
            return super().tune(use_ray, *args, **kwargs)
        if isinstance(kwargs.get("pretrained"), (str, Path)):
            self._start_from(kwargs["pretrained"], init)
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

    def _refuse_fused(self) -> None:
        """Refuse to start from this model if it was fused, which Ultralytics warns of."""
        if self.ckpt and holds_attention(self.model) and self.model.is_fused():
            raise YoloAttnError(
                f"this model was fused for inference, e.g. by fuse(): its normalisations are folded into the "
                f"convolutions and cannot be taken apart to train on. Open '{self.ckpt_path or self.model_name}' again"
            )

    def set_init(self, init: str) -> None:
        """Choose how the attention starts that has no weights yet; every other weight stays.

        Args:
            init: ``paper`` or ``identity``; it replaces what the rows of the model YAML state.

        Raises:
            YoloAttnError: If it is neither, if the model has no attention, or if its attention has weights and started
                otherwise.
        """
        self.require_pytorch()
        chosen = with_init(self.model.yaml, init)
        if self.ckpt and not self._attention_is_new:
            if chosen.changed:
                raise YoloAttnError(
                    f"init={init} is for attention without weights; '{self.ckpt_path or self.model_name}' has trained "
                    f"attention that started otherwise. Build its model YAML, and load base weights into it"
                )
            return
        _LOG.info(str(chosen))
        before = self.model
        self.rebuild({**chosen.model, GIVEN: init})
        if self.ckpt:
            transfer_weights(self.model, before)
            reset_blocks(self.model)
            self.ckpt = {"model": self.model}
        if not workers_receive_model():  # which build the YAML again
            self.overrides["model"] = str(write_model(chosen.model, Path(tempfile.mkdtemp())))

    def _start_attention(self, init: str, arguments: dict[str, Any]) -> None:
        """Choose how the attention starts in a training; without weights the model is built again for it."""
        if resume := arguments.get("resume"):
            resumed = self if resume is True else type(self)(str(resume))
            resumed.set_init(init)
            return
        self.set_init(init)
        if not self.ckpt and not isinstance(arguments.get("pretrained"), (str, Path)):
            self.ckpt = {"model": self.model}  # with a checkpoint set, Ultralytics trains this model, not the file's
            arguments["pretrained"] = False

    def _start_from(self, weights: str | Path, init: str | None) -> None:
        """Load the weights now; Ultralytics before 8.4 does not when asked from Python for a model YAML."""
        if self.ckpt:
            check_source(self.model, weights)
            return
        report = transfer_weights(self.model, weights)
        if init and not report.attention_is_new:
            _refuse_started_otherwise(report, open_checkpoint(weights)[0], init)
        if report.changing and not train_reads_pretrained():  # else the trainer reads the weights again, and says so
            _LOG.info(describe_changing(report.changing))
        self.ckpt = {"model": self.model}  # with a checkpoint set, train() starts from self.model

    def open_file(self, weights: str, task: str | None = None) -> None:
        """Open a file, a checkpoint from known classes alone where that is possible."""
        restricted_first(weights, lambda: super(WeightTransferMixin, self).open_file(weights, task))

    def load(self, weights: Any = _WEIGHTS, verbose: bool = False, *, init: str | None = None) -> Any:
        """Transfer weights into this model by row.

        Args:
            weights: A checkpoint's path, a loaded checkpoint, or a model.
            verbose: Log the transfer row by row.
            init: How attention starts that the weights do not have, ``paper`` or ``identity``; by default as the model
                YAML states.

        Returns:
            This model.

        Raises:
            YoloAttnError: If the weights are missing, unreadable or of another architecture.
        """
        self.require_pytorch()
        before, was_trained = self.model, bool(self.ckpt) and not self._attention_is_new
        try:
            if init:
                self.set_init(init)
            given, checkpoint = open_checkpoint(weights) if isinstance(weights, (str, Path)) else (weights, {})
            with loads_by_row() as reports:
                super().load(given)
            for report in reports if init else ():
                _refuse_started_otherwise(report, given, str(init))
        except YoloAttnError:
            self.model = before
            raise
        for report in reports:
            if verbose or report.has_attention:
                report.log(by_row=verbose)
            self._attention_is_new = report.attention_is_new and not was_trained
            if report.has_attention and not report.same_rows:
                checkpoint = without_training_state(checkpoint)
        if isinstance(weights, (str, Path)) and not workers_receive_model():
            self.overrides["pretrained"] = str(weights)
        self.ckpt = checkpoint or {"model": self.model}  # with a checkpoint set, train() starts from self.model
        self.ckpt_path = getattr(given, "pt_path", None) if checkpoint else None
        return self

    def reset_weights(self) -> Any:
        """Reset the weights to random ones, and attention blocks to those they start with.

        Returns:
            This model.
        """
        super().reset_weights()
        reset_blocks(self.model)
        return self


class YOLO(WeightTransferMixin, ultralytics.YOLO):  # type: ignore[misc]
    """``ultralytics.YOLO`` that keeps pretrained weights when rows were inserted, in ``load`` and in ``train``.

    A model opens as ``RTDETR``, ``YOLOWorld`` or ``YOLOE`` if its head is of that kind, whatever the
    name of its file.

    Examples:
        >>> model = YOLO("yolo11n-ela.yaml")
        >>> model.task
        'detect'
    """

    def __init__(
        self,
        model: Any = _MODEL,
        task: str | None = None,
        verbose: bool = False,
    ):
        kind = _class_for(head_of_yaml(model)) if is_yaml(model) else None
        if kind is None:
            super().__init__(model, task=task, verbose=verbose)
            if not isinstance(self, WeightTransferMixin):  # Ultralytics changed the class, by the head
                self.__class__ = _CLASSES[type(self).__name__]
        elif kind is YOLO:
            super(_HOST, self).__init__(model, task=task, verbose=verbose)  # the host's would go by the name
        else:
            given, taken = {"task": task, "verbose": verbose}, inspect.signature(kind).parameters
            opened = kind(model, **{k: v for k, v in given.items() if k in taken})
            self.__class__, self.__dict__ = kind, opened.__dict__


def _check_training_data(data: str | Path, split: str) -> None:
    try:
        check_data(data, split=split)
    except YoloAttnError as error:
        raise like(RuntimeError, error) from error.__cause__  # as Ultralytics' trainer


class RTDETR(WeightTransferMixin, ultralytics.RTDETR):  # type: ignore[misc]
    """``ultralytics.RTDETR`` that keeps pretrained weights when rows were inserted.

    Ultralytics' command line opens every model with ``rtdetr`` in its name by this class; one of another head opens as
    the class of that head.
    """

    def __init__(self, model: Any = _RTDETR):
        if is_yaml(model) and _class_for(head_of_yaml(model)) is not RTDETR:
            opened = YOLO(model)
            self.__class__, self.__dict__ = type(opened), opened.__dict__
        else:
            super().__init__(model)
            if (head := head_of(self)) and _class_for(head) is not RTDETR:
                self.__class__ = type(YOLO(self))


class YOLOWorld(WeightTransferMixin, ultralytics.YOLOWorld):  # type: ignore[misc]
    """``ultralytics.YOLOWorld`` that keeps pretrained weights when rows were inserted."""


_CLASSES: dict[str, type] = {cls.__name__: cls for cls in (YOLO, RTDETR, YOLOWorld)}

if hasattr(ultralytics, "YOLOE"):  # not in the first releases of 8.3

    class YOLOE(WeightTransferMixin, ultralytics.YOLOE):  # type: ignore[misc]
        """``ultralytics.YOLOE`` that keeps pretrained weights when rows were inserted."""

    _CLASSES["YOLOE"] = YOLOE


def _refuse_started_otherwise(report: TransferReport, source: Any, init: str) -> None:
    """Refuse attention that came with weights and began otherwise: in a block of this start it computes something else.

    Raises:
        YoloAttnError: If there is such attention.
    """
    brought, model = report.attention_rows_of_source, getattr(source, "yaml", None)
    if not brought or not isinstance(model, dict):
        return
    if rows := sorted(brought.intersection(with_init(model, init).changed)):
        raise YoloAttnError(
            f"init={init} is for attention without weights; '{report.source}' brings trained attention that started "
            f"otherwise (its row {', '.join(map(str, rows))}). Leave init out, or give base weights"
        )


def _class_for(head: str) -> type:
    """Return the class of this module for models with a head."""
    return _CLASSES[model_class(head)]


def run_host_command(words: Sequence[str], init: str | None = None) -> None:
    """Run ``yolo``'s command line in this process with the model classes of this module.

    Args:
        words: What follows ``yolo``, e.g. ``["train", "model=yolo11n-ela.yaml", "data=coco8.yaml"]``.
        init: How attention without weights starts where these words train a model; as its YAML states by default.
    """
    with patched(WeightTransferMixin, init_of_command=init):
        run_command(words, YOLO=YOLO, RTDETR=RTDETR)


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
    if weights and (changing := check_source(built, weights, same_architecture=True)):
        _LOG.info(f"{name}: {describe_changing(changing)}")
    return built.task


def resolve_weights(name: str) -> Path:
    """Return the file of a checkpoint by name; an official one may lie where Ultralytics keeps it.

    Raises:
        YoloAttnError: If it is missing or unreadable.
    """
    return Path(str(open_source(name).pt_path)).resolve()
