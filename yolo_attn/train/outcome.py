"""What can befall a training from outside, said in a sentence, and how a training ended, kept in its folder."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from yolo_attn.errors import YoloAttnError
from yolo_attn.util.files import write_json

OUTCOME = "training.json"
_LOG = logging.getLogger("ultralytics")
_DISK_FULL = ("PytorchStreamWriter failed", "unexpected pos", "No space left on device")
_NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
_NOT_FINITE = ("NaN persisted", "no valid last.pt is available", "is corrupted with NaN/Inf")
_KILLED_WORKER = "DataLoader worker (pid"


def explain(error: BaseException, folder: Path) -> str | None:
    """Return what befell a training in one sentence, or ``None`` if it is nothing of the kind.

    Args:
        error: What was raised.
        folder: Where the training writes.
    """
    text = " ".join(str(error).split())
    number = error.errno if isinstance(error, OSError) else None
    full = number in (errno.ENOSPC, errno.EDQUOT)
    no_memory = isinstance(error, MemoryError) or number == errno.ENOMEM
    if not (full or no_memory or isinstance(error, RuntimeError)):
        return None
    if full or any(word in text for word in _DISK_FULL):
        return f"the disk is full: {_free_mb(folder):.0f} MB are left for '{folder}'"
    if _KILLED_WORKER in text:
        return f"a worker of the data loader was killed, mostly for want of memory; give fewer workers= ({text})"
    if any(word in text for word in _NOT_FINITE):
        return f"the loss stays not finite; a smaller lr0, more warmup_epochs or amp=False may help ({text})"
    if no_memory or any(word in text for word in _NO_MEMORY):
        return f"out of memory; a smaller batch or imgsz needs less ({text[:300]})"
    return None


def _free_mb(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return float("nan")


class SaysHowItEnded:
    """Turn a training's fault into one sentence that says how to resume; a mixin beside :class:`Resumable`.

    ``training.json`` in the training's folder holds its ``status``: ``begun`` (also if its process was killed),
    ``failed``, ``stopped`` or ``complete``, and what happened on the way.
    """

    _saved_epochs = 0

    def train(self) -> None:
        """Train as the host does.

        Raises:
            YoloAttnError: If the disk is full, memory too small, a worker process was killed, or the loss not finite.
        """
        try:
            super().train()
        except BaseException as error:
            reason = explain(error, self.save_dir)
            said = str(error) if isinstance(error, YoloAttnError) else repr(error)
            self._note("stopped" if isinstance(error, KeyboardInterrupt) else "failed", reason or said)
            if isinstance(error, KeyboardInterrupt):
                _LOG.info(f"stopped{self._how_to_go_on()}")
            if reason is None:
                raise
            raise YoloAttnError(f"{reason.rstrip('.')}{self._how_to_go_on()}") from error

    def _setup_train(self, *args: Any, **kwargs: Any) -> Any:
        done = super()._setup_train(*args, **kwargs)
        self._saved_epochs = self.start_epoch
        self._note("begun")
        self.add_callback("on_train_end", type(self)._complete)
        return done

    def save_model(self) -> Any:
        """Save as the host does."""
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
                f"the loss was not finite in epoch {', '.join(map(str, recovered))}, which was done again from the "
                f"checkpoint before it: weights averaged, in half precision"
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

    def _how_to_go_on(self) -> str:
        if not self._saved_epochs:
            return "; no epoch was saved"
        return f"; {self._saved_epochs} epochs are saved: resume=True with {self.last} goes on after them"
