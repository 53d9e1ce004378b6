"""A training that can be stopped at any moment and goes on from its last epoch as if nothing had happened.

What Ultralytics stores for resuming is rounded to half precision and leaves out the random numbers, so a run that was
resumed from it ends elsewhere than one that was not disturbed. Here every epoch begins with random numbers that depend
on seed and epoch alone, and ends with all that the next one needs being stored in full precision.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.compat import unwrapped
from yolo_attn.util.files import write_torch

STATE = "state.pt"
_LOG = logging.getLogger("ultralytics")
_PART = ".*.part"
_WITHOUT_EFFECT = {
    "model", "data", "resume", "pretrained", "save_dir", "project", "name", "exist_ok", "plots", "verbose", "show",
    "save", "save_period", "patience", "val", "mode",
}  # fmt: skip
"""Training arguments that may differ where a training goes on: its weights end the same."""


class Resumable:
    """Mixin for an Ultralytics trainer: stores its whole state after each epoch, and ``resume=True`` goes on from it.

    The state is ``state.pt`` beside ``last.pt``, and is gone once the training is complete. Checkpoints are written
    whole or not at all.
    """

    _batch_under_way = _exact = _epoch_has_ended = _built = False

    def _setup_train(self, *args: Any, **kwargs: Any) -> Any:
        reason = self._why_not_exact()
        self._exact = reason is None
        self._iteration, self._last_step, self._gradients = -1, -1, {}
        self.history: dict[str, Any] = {
            "imgsz": int(self.args.imgsz),
            "device": str(self.device),
            "batch_sizes": [],
            "epoch_seconds": [],
            "resumed": 0,
            "recovered": [],
        }
        for left in self.wdir.glob(_PART):  # of a process that was killed while it wrote
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        done = super()._setup_train(*args, **kwargs)
        self.history["imgsz"] = int(self.args.imgsz)  # rounded to the model's stride by now
        self._go_on(reason)
        own = type(self)
        if self._exact:
            self.add_callback("on_train_epoch_start", own._begin_epoch)
            self.add_callback("on_train_batch_start", own._begin_batch)
            self.add_callback("on_train_batch_end", own._end_batch)
        self.add_callback("on_train_epoch_end", own._end_epoch)
        self.add_callback("on_fit_epoch_end", own._store)
        self.add_callback("on_train_end", own._drop_state)
        return done

    def _why_not_exact(self) -> str | None:
        """Return why this training cannot go on to the bit, if so; it is then left to the host in every respect."""
        arguments = vars(self.args)
        if int(os.getenv("RANK", "-1")) != -1:
            return "it runs on several GPUs"
        for name in ("time", "distill_model", "quantize"):
            if arguments.get(name):
                return f"{name}= is set"
        if not self.args.save:
            return "save=False"
        if not hasattr(super(), "_handle_nan_recovery"):
            return "this Ultralytics is too old"
        if self.args.workers and _start_method() != "fork":
            return "beginning the loader's workers anew for each epoch takes too long here"
        return None

    def _build_train_pipeline(self) -> None:
        """Build the loaders as the host does; it does so again with half the batch when memory was too small."""
        self._batch_under_way = False
        super()._build_train_pipeline()
        self._last_step, self._built = -1, True
        self.history["batch_sizes"].append(self.batch_size)

    # --- an epoch's random numbers ------------------------------------------------------------------------------------
    def _begin_epoch(self) -> None:
        """Make what this epoch draws depend on seed and epoch alone, here and in the loader's workers.

        An epoch that is done again, because its loss was not finite, draws other numbers than before.
        """
        self._give_gradients_back()
        tries = getattr(self, "nan_recovery_attempts", 0)
        words = f"{self.args.seed} {self.epoch}" + (f" {tries}" if tries else "")
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self._refill_mosaic_memory()
        self.train_loader.generator.manual_seed(seed)
        self.train_loader.reset()  # its workers begin anew
        self._iteration, self._batch_under_way = len(self.train_loader) * self.epoch - 1, False
        self._epoch_began = time.perf_counter()

    def _refill_mosaic_memory(self) -> None:
        """Replace the images that mosaics are drawn from, which the host collects as it goes, by a random choice."""
        dataset = self.train_loader.dataset
        if getattr(dataset, "cache", None) == "ram" or not hasattr(dataset, "buffer"):
            return
        for i in dataset.buffer:
            dataset.ims[i] = dataset.im_hw0[i] = dataset.im_hw[i] = None
        dataset.buffer.clear()
        if self.args.mosaic and self.epoch < self.epochs - self.args.close_mosaic:
            chosen = random.sample(range(dataset.ni), min(dataset.ni, dataset.max_buffer_length))
            chosen = chosen[1:] or chosen  # the host keeps one fewer than the most
            with ThreadPoolExecutor() as threads:
                list(threads.map(dataset.load_image, chosen))
            dataset.buffer[:] = chosen  # the threads were not in order

    # --- batches and steps --------------------------------------------------------------------------------------------
    @property
    def accumulate(self) -> int:
        """Batches per optimizer step; 0 while a batch is under way, so that the host asks for a step after each.

        Whether one is due is decided in ``optimizer_step``: the host counts from the last step in a variable of its
        own, which a resumed training would not know.
        """
        return 0 if self._batch_under_way else self._accumulate

    @accumulate.setter
    def accumulate(self, batches: int) -> None:
        self._accumulate = batches

    def optimizer_step(self) -> None:
        """Step as the host does, where a step is due."""
        if not self._exact:
            super().optimizer_step()
        elif self._iteration - self._last_step >= self._accumulate:
            super().optimizer_step()
            self._last_step = self._iteration

    def _begin_batch(self) -> None:
        self._iteration += 1
        self._batch_under_way = True

    def _end_batch(self) -> None:
        self._batch_under_way = False

    def _end_epoch(self) -> None:
        self._epoch_has_ended = True
        if self._exact:
            seconds = self.history["epoch_seconds"]
            seconds[self.epoch :] = [round(time.perf_counter() - self._epoch_began, 3)]

    # --- losses that are not finite -----------------------------------------------------------------------------------
    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Go back to the last checkpoint as the host does where the loss is not finite, and keep that in mind.

        Raises:
            YoloAttnError: If the host would train on with weights that are not finite.
        """
        if spoiled := _first_not_finite(self.model):
            self.loss = torch.full_like(self.loss, float("nan"))  # the host goes by the loss alone
        began = self.start_epoch
        if self.history["resumed"]:
            self.start_epoch = -1  # the host takes a training's first epoch for one without a checkpoint before it
        try:
            recovered = super()._handle_nan_recovery(epoch)
        finally:
            self.start_epoch = began
        if recovered:
            self._last_step = -1
            self.history["recovered"].append(epoch + 1)
        elif spoiled:
            raise YoloAttnError(
                f"the loss is not finite: after epoch {epoch + 1}, '{spoiled}' holds NaN or infinite values, and there "
                f"is no checkpoint to go back to; a smaller lr0, more warmup_epochs or amp=False may help"
            )
        return recovered

    # --- the state ----------------------------------------------------------------------------------------------------
    def save_model(self) -> Any:
        """Save checkpoints as the host does, each whole or not at all."""
        places = self.wdir, self.last, self.best
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
        """Store the state of an epoch; the host calls this again for its last validation, which is none."""
        ended, self._epoch_has_ended = self._epoch_has_ended, False
        if ended and self._exact and self._wants_state():
            write_torch(self.wdir / STATE, self._state())

    def _wants_state(self) -> bool:
        return not self.stop  # what is complete is not resumed

    def _state(self) -> dict[str, Any]:
        model = unwrapped(self.model)
        return {
            "run": self._run(),
            "arguments": {k: v for k, v in vars(self.args).items() if k not in _WITHOUT_EFFECT},
            "epoch": self.epoch,
            "epochs": self.epochs,
            "complete": bool(self.stop),
            "model": model.state_dict(),
            "gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_fitness": self.best_fitness,
            "stopper": {k: v for k, v in vars(self.stopper).items() if k != "patience"},
            "criterion_updates": getattr(getattr(model, "criterion", None), "updates", None),
            "last_step": self._last_step,
            "csv": self.csv.read_text(encoding="utf-8"),
            "history": self.history,
        }

    def _run(self) -> tuple[str, int]:
        return str(self.args.save_dir), self.args.seed

    def _go_on(self, reason: str | None) -> None:
        """Restore the state where there is one that belongs to this training; else say what the host does instead."""
        if not self.resume:
            (self.wdir / STATE).unlink(missing_ok=True)  # of another training in this folder
            return
        state = None
        if reason is None:
            state = read_state(Path(self.args.resume).parent)
            reason = f"there is no {STATE} beside it" if state is None else self._why_not_of_this_run(state)
        if reason is not None:
            _LOG.warning(
                f"resumed from {Path(self.args.resume).name} as Ultralytics does, with averaged weights in half "
                f"precision ({reason}): the result will differ a little from that of a training without a break"
            )
            return
        changed = [k for k, v in state["arguments"].items() if vars(self.args).get(k, v) != v]
        self._restore(state)
        _LOG.info(f"resumed from {STATE}: as after epoch {state['epoch'] + 1}, to the bit")
        if changed:
            _LOG.warning(f"{', '.join(changed)} changed: the result is not that of a training without a break")

    def _why_not_of_this_run(self, state: Mapping[str, Any]) -> str | None:
        """Return why a state does not belong to the checkpoint that is resumed, which may be one epoch ahead of it."""
        ahead = self.start_epoch - 1 - state["epoch"]
        if state["run"] != self._run() or ahead not in (0, 1):
            return f"{STATE} is of another training, or of epoch {state['epoch'] + 1}, not {self.start_epoch}"
        if not ahead and not _is_rounded(self.ema.ema.state_dict(), state["ema"]):
            return f"{STATE} holds other weights"
        return None

    def _restore(self, state: Mapping[str, Any]) -> None:
        model = unwrapped(self.model)
        model.load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best_fitness = state["best_fitness"]
        vars(self.stopper).update(state["stopper"])
        if state["criterion_updates"] is not None:
            model.criterion = model.init_criterion()
            for _ in range(state["criterion_updates"]):
                model.criterion.update()
        self._last_step, self._gradients = state["last_step"], state["gradients"]
        self.history = {**state["history"], "resumed": state["history"]["resumed"] + 1}
        self.csv.write_text(state["csv"], encoding="utf-8")
        self.start_epoch = state["epoch"] + 1
        self.scheduler.last_epoch = state["epoch"]
        if self.start_epoch > self.epochs - self.args.close_mosaic:  # Ultralytics before 8.4.190 closes it in passing
            self._close_dataloader_mosaic()

    def _give_gradients_back(self) -> None:
        """Restore gradients that were waiting for their step; the host clears them once, before the first epoch."""
        for name, parameter in unwrapped(self.model).named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        self._gradients = {}

    def _drop_state(self) -> None:
        (self.wdir / STATE).unlink(missing_ok=True)


def read_state(folder: str | Path) -> dict[str, Any] | None:
    """Return what a training stored in its folder of weights after an epoch, or ``None`` where there is nothing."""
    file = Path(folder) / STATE
    return torch.load(file, map_location="cpu", weights_only=False) if file.is_file() else None


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


def _first_not_finite(model: torch.nn.Module) -> str | None:
    """Return the name of a parameter, or of running statistics, with a value that is not finite."""
    running = (item for item in model.named_buffers() if "running_" in item[0])
    return next((k for k, v in (*model.named_parameters(), *running) if not v.isfinite().all()), None)
