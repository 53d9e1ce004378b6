"""Trainer classes: Ultralytics' trainers with row-wise weight transfer, gate log, exact resume and recorded outcome.

A trainer class is an attribute of this module by name, so that the worker processes of a multi-GPU training, which
rebuild the trainer from its class, import this package too.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn

from yolo_attn.gates.host import GateLog
from yolo_attn.host.compat import trained_model
from yolo_attn.host.derived_class import derive, host_of, made_once
from yolo_attn.host.trainer import TrainerHooks
from yolo_attn.models.row_init import GIVEN
from yolo_attn.train.freeze import (
    base_layers,
    base_rows,
    check_freeze,
    describe,
    describe_attention,
    describe_rows,
    layers_of_base_rows,
)
from yolo_attn.train.outcome import OutcomeMixin
from yolo_attn.train.resume import ResumeMixin
from yolo_attn.weights.report import TransferReport
from yolo_attn.weights.transfer import loads_by_row

_LOG = logging.getLogger("ultralytics")


class RowTransferMixin(TrainerHooks):
    """Trainer mixin: transfer ``pretrained=`` weights by row, and accept ``freeze=base`` and ``base:10``."""

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """Build the model, then give each row the weights that belong to it.

        ``freeze=base`` is resolved here, because a multi-GPU training hands model and arguments to its workers after
        this.
        """
        with loads_by_row() as reports:
            model = super().get_model(cfg=cfg, weights=weights, verbose=verbose)
        report = reports[-1] if reports else None
        if report and report.has_attention:
            report.log(by_row=verbose and bool(self.args.verbose))
        if isinstance(self.args.freeze, str):
            self.args.freeze = _layers_to_freeze(self.args.freeze, model, report)
        elif said := describe_attention(self.args.freeze, model):
            _LOG.warning(said)
        return model

    def setup_training(self, *args: Any, **kwargs: Any) -> Any:
        """Set up training; also freeze single parameters and normalisations that ``freeze`` names.

        Ultralytics' own ``freeze`` covers the submodules of a layer, but not its direct parameters.
        """
        done = super().setup_training(*args, **kwargs)
        self._note_init()
        frozen = self._frozen_by_name()
        for name, parameter in trained_model(self.model).named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        if not self.holds_frozen_norms():
            self.add_callback("on_train_batch_start", RowTransferMixin._freeze_norm_statistics)
        return done

    def _note_init(self) -> None:
        """Write into ``args.yaml`` that ``init`` was given: a comment, because Ultralytics has no such argument."""
        init = getattr(trained_model(self.model), "yaml", {}).get(GIVEN)
        file = Path(self.save_dir) / "args.yaml"
        if init and int(os.getenv("RANK", "-1")) in (-1, 0) and file.is_file():
            note = f"# init={init} was given too, an argument of yolo-attn: with cfg=this file give it again\n"
            file.write_text(note + file.read_text(encoding="utf-8"), encoding="utf-8")

    def set_training_mode(self) -> None:
        """Put the model into training mode, except for frozen normalisations."""
        super().set_training_mode()
        self._freeze_norm_statistics()

    def _freeze_norm_statistics(self) -> None:
        frozen = tuple(f"{name}." for name in self._frozen_by_name())
        for name, module in trained_model(self.model).named_modules():
            if f"{name}.".startswith(frozen) and isinstance(module, nn.BatchNorm2d):
                module.eval()

    def _frozen_by_name(self) -> set[str]:
        return {f"model.{layer}" for layer in self.args.freeze} if isinstance(self.args.freeze, list) else set()


class TrainerMixin(OutcomeMixin, RowTransferMixin, GateLog, ResumeMixin):
    """Mixin for an Ultralytics trainer: all that this package adds to a training.

    The order of the bases is part of the behaviour; each method calls the next one first, unless stated otherwise:

    1. :class:`OutcomeMixin` is outermost: it catches what any other part raises, and its callbacks come last, so that a
       training counts as complete once everything else has ended.
    2. :class:`RowTransferMixin` freezes after the host has built the optimizer.
    3. :class:`GateLog` comes before :class:`ResumeMixin`, because it adds its own values to the state, and measures
       after an epoch but before the state of that epoch is stored.
    4. :class:`ResumeMixin` is next to the host: it restores the state that all others then start from.

    A comparison's :class:`yolo_attn.compare.trainer.ComparisonMixin` comes before all of these.
    """

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Log to TensorBoard where Ultralytics does."""
        writer: Any = getattr(sys.modules.get("ultralytics.utils.callbacks.tensorboard"), "WRITER", None)
        for name, value in scalars.items() if writer else ():
            writer.add_scalar(name, value, epoch)


@made_once
def trainer_class(host: type) -> type:
    """Return the trainer class ``host`` with :class:`TrainerMixin`, importable from this module by name."""
    if issubclass(host, RowTransferMixin):
        return host
    return derive(TrainerMixin, host, __name__)


def __getattr__(name: str) -> type:
    """Make a trainer class by name, as unpickling it in another process asks for it."""
    return trainer_class(host_of(name, __name__))


def _layers_to_freeze(wanted: str, model: nn.Module, report: TransferReport | None) -> list[str]:
    check_freeze(wanted, model, weights=report is not None)
    if (rows := base_rows(wanted)) is not None:
        _LOG.info(describe_rows(wanted, model, rows))
        return layers_of_base_rows(model, rows)
    report = cast("TransferReport", report)
    _LOG.info(describe(model, report))
    return base_layers(model, report)
