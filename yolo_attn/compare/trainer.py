"""What a comparison's training does besides: go on unasked, refuse another batch, and say what it saw and took."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from yolo_attn.errors import YoloAttnError
from yolo_attn.train.resume import read_state
from yolo_attn.util.files import write_json

CUDA_CONTEXT_MB = 500.0
PROGRESS = "progress.json"
HASHED_BATCHES, TELLING_BATCHES = 2, 5


class Compared:
    """Mixin for a :class:`yolo_attn.train.resume.Resumable` trainer: a run of a comparison.

    It goes on from its state wherever there is one, and keeps that of its last epoch. ``progress.json`` in its folder
    (``save_dir``) says how far it is.
    """

    def _setup_train(self, *args: Any, **kwargs: Any) -> Any:
        self._batches_here, self._batches = 0, hashlib.sha256()
        done = super()._setup_train(*args, **kwargs)
        self.add_callback("on_train_batch_end", Compared._count_batch)
        self.add_callback("on_train_epoch_end", Compared._note_memory)
        return done

    def _why_not_exact(self) -> None:
        """Exact in every case: what stands in the way is refused when the comparison is planned."""

    def _go_on(self, reason: str | None) -> None:
        self.history.update(first_batches=None, peak_memory_mb=0.0)
        if (state := read_state(self.wdir)) is not None:
            self._restore(state)

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

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch as the host does; the first ones of the training add to a checksum."""
        if self._iteration < HASHED_BATCHES:
            self._batches.update("\n".join(Path(file).name for file in batch["im_file"]).encode())
            self._batches.update(np.ascontiguousarray(batch["img"].cpu().numpy()).tobytes())
            self.history["first_batches"] = self._batches.hexdigest()
        return super().preprocess_batch(batch)

    def _count_batch(self) -> None:
        self._batches_here += 1
        if self._batches_here == TELLING_BATCHES:  # enough to know how much memory it takes
            self._tell(self.epoch)

    def _note_memory(self) -> None:
        self.history["peak_memory_mb"] = round(max(self.history["peak_memory_mb"], _peak_memory_mb(self.device)), 1)

    def _wants_state(self) -> bool:
        return True

    def _store(self) -> None:
        super()._store()
        self._tell(self.epoch + 1)

    def _drop_state(self) -> None:
        """Keep the state: it says that the training is complete."""

    def _tell(self, complete: int) -> None:
        """Say for others to read how many epochs are complete, what they took, and how much memory is needed."""
        said = {
            "epoch": complete,
            "epochs": self.epochs,
            "epoch_seconds": self.history["epoch_seconds"],
            "peak_reserved_mb": round(_peak_reserved_mb(self.device), 1),
        }
        write_json(Path(self.save_dir) / PROGRESS, said)

    def final_eval(self) -> None:
        """Leave out the host's validation of ``best.pt``: the last epoch is the one that is judged."""


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
