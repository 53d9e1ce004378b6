"""Turn external failures of a training (full disk, no memory, killed worker, NaN) into one-line errors; record them."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import torch

from yolo_attn.errors import YoloAttnError, like
from yolo_attn.host.explain import modules_of
from yolo_attn.host.trainer import TrainerHooks
from yolo_attn.util.files import write_json

OUTCOME = "training.json"
_LOG = logging.getLogger("ultralytics")
_DISK_FULL = ("PytorchStreamWriter failed", "unexpected pos")
_NO_MEMORY = (
    "out of memory. Tried to allocate", "backend out of memory", "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: ",
)  # fmt: skip
"""Messages of torch's allocators. One of the user's own code may well hold the words "out of memory", too."""
_NOT_FINITE = ("NaN persisted", "no valid last.pt is available", "is corrupted with NaN/Inf")
_OUT_OF_MEMORY: Any = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)  # until torch 2.4
_KILLED_WORKER = "DataLoader worker (pid"
_OF_A_WORKER = "in DataLoader worker process"  # an error of the dataset, which a worker passed on
_LOADER, _PIPES = "torch.utils.data.dataloader", ("multiprocessing.", "torch.multiprocessing.")


def explain(error: BaseException, folder: Path) -> str | None:
    """Describe an external failure in one sentence; return ``None`` for any other error.

    Args:
        error: The error that ended the training.
        folder: Folder that the training writes to.
    """
    text = " ".join(str(error).split())
    number = error.errno if isinstance(error, OSError) else None
    full = number in (errno.ENOSPC, errno.EDQUOT)
    no_memory = isinstance(error, (MemoryError, _OUT_OF_MEMORY)) or number == errno.ENOMEM
    if _is_killed_worker(error):
        message = text or type(error).__name__
        return f"a worker of the data loader was killed, usually for lack of memory; use fewer workers= ({message})"
    if not (full or no_memory or isinstance(error, RuntimeError)):
        return None
    if full or any(word in text for word in _DISK_FULL):
        return f"the disk is full: {_free_mb(folder):.0f} MB are left for '{folder}'"
    if any(word in text for word in _NOT_FINITE):
        return f"the loss stays not finite; a smaller lr0, more warmup_epochs or amp=False may help ({text})"
    if no_memory or any(word in text for word in _NO_MEMORY):
        return f"out of memory; a smaller batch or imgsz needs less ({text[:300]})"
    return None


def _is_killed_worker(error: BaseException) -> bool:
    """Tell whether the data loader lost a worker: torch noticed its end, or a pipe to it broke while data was read."""
    if isinstance(error, RuntimeError) and _KILLED_WORKER in str(error):
        return True
    if not isinstance(error, (ConnectionError, EOFError, FileNotFoundError)) or _OF_A_WORKER in str(error):
        return False
    modules = modules_of(error)
    inside = modules[modules.index(_LOADER) :] if _LOADER in modules else []
    return any(f"{module}.".startswith(_PIPES) for module in inside)


def _free_mb(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return float("nan")


class OutcomeMixin(TrainerHooks):
    """Trainer mixin: raise external failures as one sentence that tells how to resume; record the outcome.

    ``training.json`` in the run folder holds the ``status`` (``begun``, also if the process was killed, ``failed``,
    ``stopped`` or ``complete``), the reason, and the number of saved epochs.
    """

    history: dict[str, Any]

    _saved_epochs = 0

    def train(self) -> None:
        """Train, and record how the training ended.

        Raises:
            YoloAttnError: If the disk is full, memory too small, a worker process was killed, or the loss not finite;
                it is of the type of the error it replaces too.
        """
        try:
            super().train()
        except BaseException as error:
            try:
                self._fail(error)
            except RuntimeError as late:  # torch reports a killed worker by a signal too, which may come now
                if _KILLED_WORKER not in str(late):
                    raise
                self._fail(late)

    def _fail(self, error: BaseException) -> NoReturn:
        """Record why the training ended, and raise the error, in one sentence if it is an external failure."""
        if _is_killed_worker(error):
            self.close_loaders()
        reason = explain(error, self.save_dir)
        message = str(error) if isinstance(error, YoloAttnError) else repr(error)
        self._note("stopped" if isinstance(error, KeyboardInterrupt) else "failed", reason or message)
        if isinstance(error, KeyboardInterrupt):
            _LOG.info(f"stopped{self._how_to_resume()}")
        if reason is None:
            raise error
        raise like(error, f"{reason.rstrip('.')}{self._how_to_resume()}") from error

    def setup_training(self, *args: Any, **kwargs: Any) -> Any:
        """Set up training, and record that it has begun."""
        done = super().setup_training(*args, **kwargs)
        self._saved_epochs = self.start_epoch
        self._note("begun")
        self.add_callback("on_train_end", type(self)._complete)
        return done

    def save_model(self) -> Any:
        """Save checkpoints, and record the number of saved epochs."""
        done = super().save_model()
        self._saved_epochs = self.epoch + 1
        self._note("begun")
        return done

    def _complete(self) -> None:
        sizes, recovered = self.history["batch_sizes"], self.history["recovered"]
        if len(sizes) > 1:
            _LOG.warning(f"trained with batch={sizes[-1]}: memory was too small for batch={sizes[0]}")
        if recovered:
            _LOG.warning(
                f"the loss was not finite in epoch {', '.join(map(str, recovered))}, which was repeated from the "
                f"checkpoint before it (averaged weights in half precision)"
            )
        self._note("complete")

    def _note(self, status: str, reason: str | None = None) -> None:
        history = getattr(self, "history", {})
        if int(os.getenv("RANK", "-1")) not in (-1, 0) or not self.save_dir.is_dir():
            return
        content = {
            "status": status,
            "reason": reason,
            "epochs_saved": self._saved_epochs,
            "resumed": history.get("resumed", 0),
            "epochs_done_again": history.get("recovered", []),
            "batch_sizes": history.get("batch_sizes", []),
        }
        try:
            write_json(self.save_dir / OUTCOME, content)
        except OSError as error:  # e.g. a full disk, which may be why
            _LOG.warning(f"{OUTCOME} could not be written: {error}")

    def _how_to_resume(self) -> str:
        if not self._saved_epochs:
            return "; no epoch was saved"
        return f"; {self._saved_epochs} epochs are saved: resume=True with {self.last} continues after them"
