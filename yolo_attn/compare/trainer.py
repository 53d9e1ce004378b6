"""Trainer mixin for comparison runs: resume automatically, fail if the batch size changes, record what ran."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_attn.compare.seconds import process_seconds
from yolo_attn.errors import YoloAttnError
from yolo_attn.report.seconds import ALL, EARLIER
from yolo_attn.train.resume import ResumeMixin, read_state
from yolo_attn.util.files import write_json
from yolo_attn.util.processes import peak_with_libraries_mb

CUDA_CONTEXT_MB = 500.0
PROGRESS = "progress.json"
HASHED_BATCHES, PROGRESS_BATCHES = 2, 5


class ComparisonMixin(ResumeMixin):
    """Trainer mixin for a run of a comparison; comes before :class:`yolo_attn.train.trainer.TrainerMixin`.

    It resumes from its state wherever there is one, and keeps the state of its last epoch. ``progress.json`` in the run
    folder (``save_dir``) holds epochs, seconds and memory. The seed alone decides what a run sees, whatever random
    numbers its model draws, so that all models see the same.
    """

    _seeds_batches = True
    _first_epoch: int | None = None

    def setup_training(self, *args: Any, **kwargs: Any) -> Any:
        """Set up training; a checksum of the first batches and the peak memory are recorded."""
        self._batches_here, self._batches = 0, hashlib.sha256()
        done = super().setup_training(*args, **kwargs)
        self.add_callback("on_train_batch_end", ComparisonMixin._count_batch)
        self.add_callback("on_train_epoch_start", ComparisonMixin._note_start)
        self.add_callback("on_train_epoch_end", ComparisonMixin._note_memory)
        self.add_callback("on_train_epoch_end", ComparisonMixin._note_epoch)
        return done

    def _reason_not_exact(self) -> None:
        """Return ``None``: settings that prevent exact resume are refused when the comparison is planned."""

    def _resume(self, reason: str | None) -> None:
        self.history.update(first_batches=None, peak_memory_mb=0.0, seconds={})
        if (state := read_state(self.wdir)) is not None:
            self._restore(state)
            spent = self.history.setdefault("seconds", {})
            spent[EARLIER] = spent.get(ALL, 0.0)

    def build_loaders(self) -> None:
        """Build the data loaders once.

        Raises:
            YoloAttnError: If called again, with half the batch because memory ran out: the other runs do not train so.
        """
        if self._built:
            raise YoloAttnError(
                f"out of memory: Ultralytics would continue with batch={self.batch_size}, unlike the other runs; "
                f" choose a smaller batch for all of them, or fewer runs at a time"
            )
        super().build_loaders()

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch; the first ones of the training enter a checksum."""
        if self._iteration < HASHED_BATCHES:
            self._batches.update("\n".join(Path(file).name for file in batch["im_file"]).encode())
            self._batches.update(np.ascontiguousarray(batch["img"].cpu().numpy()).tobytes())
            self.history["first_batches"] = self._batches.hexdigest()
        prepared: dict[str, Any] = super().preprocess_batch(batch)
        return prepared

    def _count_batch(self) -> None:
        self._batches_here += 1
        if self._batches_here == PROGRESS_BATCHES:  # enough to know how much memory it takes
            self._write_progress(self.epoch)

    def _note_memory(self) -> None:
        self.history["peak_memory_mb"] = round(max(self.history["peak_memory_mb"], _peak_memory_mb(self.device)), 1)

    # --- where the time goes ------------------------------------------------------------------------------------------
    def _add_seconds(self, part: str, seconds: float) -> None:
        spent = self.history["seconds"]
        spent[part] = round(spent.get(part, 0.0) + seconds, 3)

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._add_seconds(part, time.perf_counter() - began)

    def _note_start(self) -> None:
        if self._first_epoch is None:
            self._first_epoch = self.epoch
            self._add_seconds("start", process_seconds())

    def _note_epoch(self) -> None:
        seconds = self.history["epoch_seconds"][self.epoch]
        self._add_seconds("first epoch" if self.epoch == self._first_epoch else "epochs", seconds)

    def validate(self) -> Any:
        """Validate, and note the time."""
        with self._timed("validation"):
            return super().validate()

    def save_model(self) -> Any:
        """Save checkpoints, and note the time."""
        with self._timed("saving"):
            return super().save_model()

    # --- state and progress -------------------------------------------------------------------------------------------
    def _wants_state(self) -> bool:
        return True

    def _store(self) -> None:
        spent = self.history["seconds"]
        spent[ALL] = round(spent.get(EARLIER, 0.0) + process_seconds(), 3)
        with self._timed("saving"):
            super()._store()
        self._write_progress(self.epoch + 1)

    def _drop_state(self) -> None:
        """Keep the state: it shows that the training is complete."""

    def _write_progress(self, complete: int) -> None:
        """Write the number of complete epochs, their seconds, and the peak memory in MB."""
        progress = {
            "epoch": complete,
            "epochs": self.epochs,
            "epoch_seconds": self.history["epoch_seconds"],
            "peak_reserved_mb": round(_peak_reserved_mb(self.device), 1),
        }
        write_json(Path(self.save_dir) / PROGRESS, progress)

    def final_eval(self) -> None:
        """Skip the validation of ``best.pt``: the last epoch is the one that counts."""


def _peak_reserved_mb(device: torch.device) -> float:
    """Return the peak memory in MB that other processes could not use: on a GPU all reserved, and the context."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20 + CUDA_CONTEXT_MB
    return _peak_memory_mb(device)


def _peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory in MB: allocated on the GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_with_libraries_mb()
