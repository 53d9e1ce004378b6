"""Resume a stopped training from its last epoch with exactly the weights of an uninterrupted one.

Ultralytics stores checkpoints in half precision and without random states, so a training resumed from them ends with
other weights. Here the state after each epoch is stored in full precision, with the random states. An uninterrupted
training draws the random numbers that Ultralytics draws. Where these states cannot be restored, the random numbers of
an epoch depend on seed and epoch alone. In comparisons those of the loader depend on the seed alone, whatever the model
draws.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import pickle
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.data import refill_mosaic_buffers
from yolo_attn.host.random_state import LoaderRecord, RandomState, record
from yolo_attn.host.trainer import TrainerHooks
from yolo_attn.util.files import is_whole_archive, write_torch

STATE = "state.pt"
_LOG = logging.getLogger("ultralytics")
_PART = ".*.part"
_WITHOUT_EFFECT = {
    "model", "data", "resume", "pretrained", "save_dir", "project", "name", "exist_ok", "plots", "verbose", "show",
    "save", "save_period", "patience", "val", "mode",
}  # fmt: skip
"""Arguments that may change on resume without changing the final weights."""
_FACTS = {"run", "epoch", "complete", "model", "ema", "optimizer", "history"}


class ResumeMixin(TrainerHooks):
    """Trainer mixin: store the complete state after each epoch in ``state.pt``, and resume from it.

    The file is removed once the training is complete. Checkpoints are written atomically.
    """

    _batch_under_way = _exact = _epoch_has_ended = _built = False
    _stores, _batches_per_epoch = True, 0
    _begun_not_finite: set[str] | None = None
    _seeds_batches = _mosaic_closed = False
    _record: LoaderRecord | None = None
    _resumed_from: dict[str, Any] | None = None

    def setup_training(self, *args: Any, **kwargs: Any) -> Any:
        """Set up training, and restore the state if one is resumed."""
        reason = self._reason_not_exact()
        self._exact = reason is None
        self._iteration, self._last_step = -1, -1
        self._gradients: dict[str, torch.Tensor] = {}
        self.history: dict[str, Any] = {
            "device": str(self.device),
            "batch_sizes": [],
            "epoch_seconds": [],
            "resumed": 0,
            "recovered": [],
        }
        for left in self.wdir.glob(_PART):  # of a process that was killed while it wrote
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        done = super().setup_training(*args, **kwargs)
        self.history["imgsz"] = int(self.args.imgsz)  # one number, rounded to the model's stride, by now
        self._batches_per_epoch = len(self.train_loader)  # counted here by the host too, once for all epochs
        self._resume(reason)
        own = type(self)
        if self._exact:
            self.add_callback("on_train_epoch_start", own._begin_epoch)
            self.add_callback("on_train_batch_start", own._begin_batch)
        if self._exact and self._seeds_batches:
            self.add_callback("on_train_batch_end", own._seed_batch)
        self.add_callback("on_train_epoch_start", own._note_not_finite)
        self.add_callback("on_train_epoch_end", own._end_epoch)
        self.add_callback("on_fit_epoch_end", own._store)
        self.add_callback("on_train_end", own._drop_state)
        return done

    def _reason_not_exact(self) -> str | None:
        """Return why this training cannot be resumed exactly, if so; Ultralytics then does everything."""
        arguments = vars(self.args)
        if int(os.getenv("RANK", "-1")) != -1:
            return "it runs on several GPUs"
        for name in ("time", "distill_model", "quantize"):
            if arguments.get(name):
                return f"{name}= is set"
        if not self.args.save:
            return "save=False"
        if not self.recovers_from_nan():
            return "this Ultralytics is too old"
        if self.args.workers and _start_method() != "fork":
            return "restarting the loader's workers for each epoch takes too long here"
        return None

    def build_loaders(self) -> None:
        """Build the data loaders, and record the batch size; called again with half the batch when memory ran out."""
        self._batch_under_way = False
        super().build_loaders()
        self._last_step, self._built, self._batches_per_epoch = -1, True, len(self.train_loader)
        if self._seeds_batches and (generator := getattr(self.train_loader, "generator", None)) is not None:
            generator.manual_seed(_seed(self.args.seed))
        self._record = record(self.train_loader) if self._exact else None
        self._mosaic_closed = False
        self.history["batch_sizes"].append(self.batch_size)

    # --- an epoch's random numbers ------------------------------------------------------------------------------------
    def _begin_epoch(self) -> None:
        """Restore what the epoch starts from if it is resumed, or seed it."""
        self.restore_gradients(self._gradients)
        self._gradients = {}
        if self._record is None:
            self._seed_epoch()
        elif self._resumed_from is not None:
            if self._resumed_from["generator"] is not None and self._has_own_loader():
                self.train_loader.generator.set_state(self._resumed_from["generator"])
            self._resumed_from["process"].restore(self._record.loader.dataset)
            self._resumed_from = None
        self._iteration, self._batch_under_way = self._batches_per_epoch * self.epoch - 1, False
        if self._seeds_batches:
            self._seed_batch()
        self._epoch_began = time.perf_counter()

    def _seed_epoch(self) -> None:
        """Seed all random generators from seed and epoch alone, here and in the loader's workers.

        An epoch that is repeated because its loss was not finite is seeded differently.
        """
        seed = self._seed_process(self.epoch)
        dataset = self.train_loader.dataset
        refill_mosaic_buffers(dataset, used=self.args.mosaic and self.epoch < self.epochs - self.args.close_mosaic)
        if (generator := getattr(self.train_loader, "generator", None)) is not None:
            generator.manual_seed(seed)
        if hasattr(self.train_loader, "reset"):  # a loader of the user's own may have neither
            self.train_loader.reset()  # restarts its workers

    def _seed_batch(self) -> None:
        """Seed this process for the next batch, which then does not depend on what the model drew before."""
        self._seed_process("batch", self._iteration + 1)

    def _seed_process(self, *moment: Any) -> int:
        """Seed this process for a moment of the training, and return the seed; a repeated epoch has others."""
        tries = getattr(self, "nan_recovery_attempts", 0)
        seed = _seed(self.args.seed, *moment, *([tries] if tries else ()))
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return seed

    def close_mosaic(self) -> None:
        """Switch mosaics off; the host then restarts the loader."""
        super().close_mosaic()
        if self._record is not None and not self._mosaic_closed:
            self._record.begin_anew()
        self._mosaic_closed = True

    def _has_own_loader(self) -> bool:
        """Tell whether a callback put a loader with a generator in the place of the host's."""
        own = self._record is not None and self.train_loader is not self._record.loader
        return own and getattr(self.train_loader, "generator", None) is not None

    def _random_state(self) -> dict[str, Any] | None:
        """Return the state of what draws random numbers; ``None`` where epochs are seeded."""
        if self._record is None:
            return None
        return {
            "process": RandomState.capture(self._record.loader.dataset),
            "loader": self._record.state(),
            "generator": self.train_loader.generator.get_state() if self._has_own_loader() else None,
            "mosaic_closed": self._mosaic_closed,
        }

    def _restore_random_state(self, state: dict[str, Any] | None) -> None:
        restored = self._record is None and state is None
        if self._record is not None and state is not None:
            self._resumed_from, self._mosaic_closed = state, state["mosaic_closed"]
            restored = self._record.restore(state["loader"])
        if not restored:
            _LOG.warning("the loader has other workers or libraries: it goes on with other images than without a break")

    # --- batches and steps --------------------------------------------------------------------------------------------
    @property
    def accumulate(self) -> int:
        """Batches per optimizer step; 0 while a batch is computed, so that the host calls ``optimizer_step`` after it.

        Whether a step is due is decided there: the host counts from the last step in a local variable, which a resumed
        training does not know.
        """
        return 0 if self._batch_under_way else self._accumulate

    @accumulate.setter
    def accumulate(self, batches: int) -> None:
        self._accumulate = batches

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch, with which its computation begins."""
        self._batch_under_way = self._exact
        if self._record is not None and self.train_loader is self._record.loader:
            self._record.count(batch)
        prepared: dict[str, Any] = super().preprocess_batch(batch)
        return prepared

    def optimizer_step(self) -> None:
        """Step the optimizer if a step is due."""
        self._batch_under_way = False
        if not self._exact:
            super().optimizer_step()
        elif self._iteration - self._last_step >= self._accumulate:
            super().optimizer_step()
            self._last_step = self._iteration

    def _begin_batch(self) -> None:
        self._iteration += 1

    def _end_epoch(self) -> None:
        self._epoch_has_ended = True
        if self._exact:
            seconds = self.history["epoch_seconds"]
            seconds[self.epoch :] = [round(time.perf_counter() - self._epoch_began, 3)]

    # --- losses that are not finite -----------------------------------------------------------------------------------
    def recover_from_nan(self, epoch: int) -> bool:
        """Load the last checkpoint where the loss or the weights are not finite, and record the epoch.

        Raises:
            YoloAttnError: If there is no checkpoint; the host would continue with weights that are not finite.
        """
        spoiled = self._spoiled()
        if spoiled and self.loss is not None:
            self.loss = torch.full_like(self.loss, float("nan"))  # the host looks at the loss alone
        began = self.start_epoch
        if self.history["resumed"]:
            self.start_epoch = -1  # the host assumes no checkpoint before the first epoch of a process
        try:
            recovered = super().recover_from_nan(epoch)
        finally:
            self.start_epoch = began
        if recovered:
            self._last_step = -1
            self.history["recovered"].append(epoch + 1)
        elif spoiled:
            raise YoloAttnError(
                f"the loss is not finite: after epoch {epoch + 1}, '{spoiled}' holds NaN or infinite values, and there "
                f"is no checkpoint to return to; a smaller lr0, more warmup_epochs or amp=False may help"
            )
        return recovered

    def _note_not_finite(self) -> None:
        if self._begun_not_finite is None:
            self._begun_not_finite = set(_not_finite(self.model))

    def _spoiled(self) -> str | None:
        """Return the name of values that training made infinite or NaN; a mask may hold some from the beginning."""
        found = _not_finite(self.model)
        if self.loss is None or self.loss.isfinite().all():
            found = (name for name in found if name not in (self._begun_not_finite or ()))
        return next(iter(found), None)

    # --- the state ----------------------------------------------------------------------------------------------------
    def save_model(self) -> Any:
        """Save checkpoints atomically, unless their places were changed to folders that may be on other disks."""
        places = self.wdir, self.last, self.best
        if {self.last.parent, self.best.parent} != {self.wdir}:
            return super().save_model()
        part = self.wdir / f".{os.getpid()}.part"
        self.wdir, self.last, self.best = part, part / self.last.name, part / self.best.name
        try:
            part.mkdir(parents=True, exist_ok=True)
            done = super().save_model()
            for file in part.iterdir():
                os.replace(file, places[0] / file.name)
            return done
        finally:
            self.wdir, self.last, self.best = places
            shutil.rmtree(part, ignore_errors=True)

    def _store(self) -> None:
        """Store the state after an epoch; the host calls this once more for its final validation, which is not one."""
        ended, self._epoch_has_ended = self._epoch_has_ended, False
        if not (ended and self._exact and self._stores and self._wants_state()):
            return
        try:
            write_torch(self.wdir / STATE, self._state())
        except (pickle.PicklingError, TypeError, AttributeError) as error:  # of an object that the user put in place
            self._stores = False
            self._drop_state()
            _LOG.warning(f"this training cannot be resumed exactly: {STATE} cannot be written ({error})")

    def _wants_state(self) -> bool:
        return not self.stop  # a complete training is not resumed

    def _state(self) -> dict[str, Any]:
        return {
            "run": self._run(),
            "arguments": {k: v for k, v in vars(self.args).items() if k not in _WITHOUT_EFFECT},
            **self.training_state(),
            "last_step": self._last_step,
            "random": self._random_state(),
            "history": self.history,
        }

    def _run(self) -> tuple[str, int]:
        return str(self.args.save_dir), self.args.seed

    def _resume(self, reason: str | None) -> None:
        """Restore the state if one belongs to this training; else log how the host resumes instead."""
        if not self.resume:
            (self.wdir / STATE).unlink(missing_ok=True)  # of another training in this folder
            return
        state = None
        if reason is None:
            try:
                state = read_state(Path(self.args.resume).parent)
                reason = f"there is no {STATE} beside it" if state is None else self._mismatch(state)
            except YoloAttnError as error:
                reason = str(error)
        if state is None or reason is not None:
            _LOG.warning(
                f"resumed from {Path(self.args.resume).name} as Ultralytics does, with averaged weights in half "
                f"precision ({reason}): the result will differ a little from that of a training without a break"
            )
            return
        changed = [k for k, v in state["arguments"].items() if _differ(vars(self.args).get(k, v), v)]
        self._restore(state)
        _LOG.info(f"resumed from {STATE}: exactly as after epoch {state['epoch'] + 1}")
        if changed:
            _LOG.warning(f"{', '.join(changed)} changed: the result is not that of a training without a break")

    def _mismatch(self, state: Mapping[str, Any]) -> str | None:
        """Return why a state does not belong to the checkpoint that is resumed, which may be one epoch ahead of it."""
        ahead = self.start_epoch - 1 - state["epoch"]
        if state["run"] != self._run() or ahead not in (0, 1):
            return f"{STATE} is of another training, or of epoch {state['epoch'] + 1}, not {self.start_epoch}"
        if not ahead and not _is_rounded(self.ema.ema.state_dict(), state["ema"]):
            return f"{STATE} holds other weights"
        return None

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._restore_random_state(state.get("random"))
        self.restore_training_state(state)
        self._last_step, self._gradients = state["last_step"], state["gradients"]
        self.history = {**state["history"], "resumed": state["history"]["resumed"] + 1}

    def _drop_state(self) -> None:
        (self.wdir / STATE).unlink(missing_ok=True)


def read_state(folder: str | Path) -> dict[str, Any] | None:
    """Return the stored state of a training from its weights folder, or ``None`` if there is none.

    Raises:
        YoloAttnError: If the file is damaged, which torch alone does not notice of values that were changed.
    """
    file = Path(folder) / STATE
    if not file.is_file():
        return None
    if not is_whole_archive(file):
        raise YoloAttnError(f"'{file}' is damaged")
    state = torch.load(file, map_location="cpu", weights_only=False)
    if not isinstance(state, dict) or not state.keys() >= _FACTS:
        raise YoloAttnError(f"'{file}' holds no state of a training")
    return state


def _seed(*moment: Any) -> int:
    """Return the seed of a moment, given by the training's seed, epoch, batch."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, moment)).encode()).digest()[:4], "big")


def _start_method() -> str:
    """Return how processes are started, without settling it as asking for it alone would."""
    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


def _is_rounded(rounded: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether values are others in half precision, as a checkpoint holds them."""
    if rounded.keys() != exact.keys():
        return False
    return all(
        torch.equal(v.cpu(), torch.nan_to_num(exact[k].half()).to(v.dtype)) if v.is_floating_point() else True
        for k, v in rounded.items()
    )


def _not_finite(model: torch.nn.Module) -> Iterator[str]:
    """Yield the names of parameters, and of running statistics, with a value that is not finite."""
    running = (item for item in model.named_buffers() if "running_" in item[0])
    return (name for name, values in (*model.named_parameters(), *running) if not values.isfinite().all())


def _differ(one: Any, other: Any) -> bool:
    """Tell whether two values of an argument differ, which may be arrays or hold some."""
    try:
        return bool(one != other)
    except (ValueError, RuntimeError):
        return repr(one) != repr(other)
