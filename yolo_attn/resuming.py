"""A training that can be stopped at any moment and goes on from its last epoch as if nothing had happened.

What Ultralytics stores for resuming is rounded to half precision and leaves out the random numbers, so a run that was
resumed from it ends elsewhere than one that was not disturbed. Here every epoch begins with random numbers that depend
on seed and epoch alone, and ends with all that the next one needs being stored in full precision.
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from yolo_attn.errors import YoloAttnError
from yolo_attn.files import write_json, write_torch

CUDA_CONTEXT_MB = 500.0
STATE, PROGRESS = "state.pt", "progress.json"
HASHED_BATCHES, TELLING_BATCHES = 2, 5


class Resumable:
    """Mixin for an Ultralytics trainer: stores its whole state after each epoch and goes on from it, if it is there.

    The state lies in the training's folder (``save_dir``); ``progress.json`` beside it says how far the training is.
    """

    _batch_under_way = _built = False

    def _setup_train(self, *args: Any, **kwargs: Any) -> Any:
        done = super()._setup_train(*args, **kwargs)
        self._iteration, self._last_step, self._batches_here, self._gradients = -1, -1, 0, {}
        self._batches = hashlib.sha256()
        self.history: dict[str, Any] = {
            "imgsz": int(self.args.imgsz),
            "device": str(self.device),
            "epoch_seconds": [],
            "first_batches": None,
            "resumed": 0,
            "peak_memory_mb": 0.0,
        }
        if (state := read_state(self.save_dir)) is not None:
            self._restore(state)
        self.add_callback("on_train_epoch_start", Resumable._begin_epoch)
        self.add_callback("on_train_batch_start", Resumable._begin_batch)
        self.add_callback("on_train_batch_end", Resumable._end_batch)
        self.add_callback("on_train_epoch_end", Resumable._end_epoch)
        self.add_callback("on_fit_epoch_end", Resumable._store)
        return done

    def _build_train_pipeline(self) -> None:
        """Build the loaders as the host does; it does so again with half the batch when memory was too small.

        Raises:
            YoloAttnError: On such a second time: half the batch would not be the recipe of the other runs.
        """
        if self._built:
            raise YoloAttnError(
                f"out of memory: Ultralytics would go on with batch={self.batch_size}, which is not the recipe of the "
                f"other runs; choose a smaller batch for all of them, or fewer runs at a time"
            )
        super()._build_train_pipeline()
        self._built = True

    # --- an epoch's random numbers ------------------------------------------------------------------------------------
    def _begin_epoch(self) -> None:
        """Make what this epoch draws depend on seed and epoch alone, here and in the loader's workers."""
        self._give_gradients_back()
        seed = int.from_bytes(hashlib.sha256(f"{self.args.seed} {self.epoch}".encode()).digest()[:4], "big")
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self._refill_mosaic_memory()
        self.train_loader.generator.manual_seed(seed)
        self.train_loader.reset()  # its workers begin anew
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
            for i in random.sample(range(dataset.ni), min(dataset.ni, dataset.max_buffer_length)):
                dataset.load_image(i)

    def _end_epoch(self) -> None:
        self.history["epoch_seconds"].append(round(time.perf_counter() - self._epoch_began, 3))
        self.history["peak_memory_mb"] = round(max(self.history["peak_memory_mb"], _peak_memory_mb(self.device)), 1)

    # --- batches and steps --------------------------------------------------------------------------------------------
    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch as the host does; the first ones of the training add to a checksum."""
        if self._iteration < HASHED_BATCHES:
            self._batches.update("\n".join(Path(file).name for file in batch["im_file"]).encode())
            self._batches.update(np.ascontiguousarray(batch["img"].cpu().numpy()).tobytes())
            self.history["first_batches"] = self._batches.hexdigest()
        return super().preprocess_batch(batch)

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
        if self._iteration - self._last_step >= self._accumulate:
            super().optimizer_step()
            self._last_step = self._iteration

    def _begin_batch(self) -> None:
        self._iteration += 1
        self._batch_under_way = True

    def _end_batch(self) -> None:
        self._batch_under_way = False
        self._batches_here += 1
        if self._batches_here == TELLING_BATCHES:  # enough to know how much memory it takes
            self._tell(self.epoch)

    # --- the state ----------------------------------------------------------------------------------------------------
    def _store(self) -> None:
        from yolo_attn.engine import unwrapped

        model = unwrapped(self.model)
        state = {
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
            "stopper": vars(self.stopper),
            "criterion_updates": getattr(getattr(model, "criterion", None), "updates", None),
            "last_step": self._last_step,
            "iteration": self._iteration,
            "csv": self.csv.read_text(encoding="utf-8"),
            "history": self.history,
        }
        write_torch(Path(self.save_dir) / STATE, state)
        self._tell(self.epoch + 1)

    def _tell(self, complete: int) -> None:
        """Say for others to read how many epochs are complete, what they took, and how much memory is needed."""
        said = {
            "epoch": complete,
            "epochs": self.epochs,
            "epoch_seconds": self.history["epoch_seconds"],
            "peak_reserved_mb": round(_peak_reserved_mb(self.device), 1),
        }
        write_json(Path(self.save_dir) / PROGRESS, said)

    def _restore(self, state: dict[str, Any]) -> None:
        from yolo_attn.engine import unwrapped

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
        self._last_step = state["last_step"]
        self._iteration, self._gradients = state["iteration"], state["gradients"]
        self.history = {**state["history"], "resumed": state["history"]["resumed"] + 1}
        self.csv.write_text(state["csv"], encoding="utf-8")
        self.start_epoch = state["epoch"] + 1
        self.scheduler.last_epoch = state["epoch"]
        if self.start_epoch > self.epochs - self.args.close_mosaic:  # Ultralytics before 8.4.190 closes it in passing
            self._close_dataloader_mosaic()

    def _give_gradients_back(self) -> None:
        """Restore gradients that were waiting for their step; the host clears them once, before the first epoch."""
        from yolo_attn.engine import unwrapped

        for name, parameter in unwrapped(self.model).named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        self._gradients = {}

    def final_eval(self) -> None:
        """Leave out the host's validation of ``best.pt``: the last epoch is the one that is judged."""


def read_state(save_dir: str | Path) -> dict[str, Any] | None:
    """Return what a training stored after its last complete epoch, or ``None`` where there is nothing."""
    file = Path(save_dir) / STATE
    return torch.load(file, map_location="cpu", weights_only=False) if file.is_file() else None


def _peak_reserved_mb(device: torch.device) -> float:
    """Return the most memory that was kept from others: on the GPU more than is allocated, and the context."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20 + CUDA_CONTEXT_MB
    return _peak_memory_mb(device)


def _peak_memory_mb(device: torch.device) -> float:
    """Return the most memory in use so far: allocated on the GPU, or by this process where the CPU trains."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return memory.peak_wset / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
