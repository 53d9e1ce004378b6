"""Base class of trainer mixins: public hooks for the private methods of Ultralytics' trainers, and their state.

Ultralytics' trainer calls private methods at the points where a training can be extended. :class:`TrainerHooks` is the
only class that overrides them. Mixins override its public methods instead, and call ``super()``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data._utils import signal_handling

from yolo_attn.host.compat import redirected, unwrapped

if TYPE_CHECKING:
    from types import SimpleNamespace

    _Trainer: Any
else:
    _Trainer = object


_OF_STOPPER = ("best_fitness", "best_epoch", "possible_stop")
"""Attributes that early stopping has to remember; a stopper of the user's own may hold more."""


def stop_workers(iterator: Any) -> None:
    """Stop the workers of a loader's iterator, also where one was killed while it held a lock that others wait for.

    Args:
        iterator: Iterator of a :class:`torch.utils.data.DataLoader` with workers.
    """
    if not iterator._shutdown and any(not worker.is_alive() for worker in iterator._workers):
        iterator._shutdown = True  # torch's own way sets an event whose lock may have died with the worker
        signal_handling._remove_worker_pids(id(iterator))
        iterator._worker_pids_set = False
        for worker in iterator._workers:
            worker.kill()
            worker.join()
    iterator._shutdown_workers()


class TrainerHooks(_Trainer):
    """Base class of trainer mixins, directly in front of an Ultralytics trainer.

    Attributes:
        args: Training arguments.
        model: The model that trains; wrapped in a multi-GPU or compiled training.
        ema: Moving average of its weights: ``ema.ema`` is the model, ``ema.updates`` their number.
        device: Torch device.
        save_dir: Folder of the run; ``wdir``, ``last``, ``best`` and ``csv`` are in it.
        epoch: Number of the current epoch, from 0; ``start_epoch`` is the first one of this process.
        epochs: Number of epochs.
        resume: Whether a training is resumed.
        stop: Whether the training is complete.
    """

    args: SimpleNamespace
    model: Any
    ema: Any
    optimizer: Any
    scaler: Any
    scheduler: Any
    stopper: Any
    device: Any
    loss: Any
    train_loader: Any
    test_loader: Any
    save_dir: Path
    wdir: Path
    last: Path
    best: Path
    csv: Path
    epoch: int
    epochs: int
    start_epoch: int
    batch_size: int
    best_fitness: Any
    resume: Any
    stop: bool
    add_callback: Callable[..., None]

    def __init__(self, *args: Any, **kwargs: Any):
        from ultralytics.engine import trainer

        with redirected(trainer, get_save_dir=claim_run_folder):
            super().__init__(*args, **kwargs)

    # --- hooks --------------------------------------------------------------------------------------------------------
    def setup_training(self, *args: Any, **kwargs: Any) -> Any:
        """Set up model, optimizer and loaders; called once, before the first epoch."""
        with no_vain_download():
            return super()._setup_train(*args, **kwargs)

    def build_loaders(self) -> None:
        """Build the data loaders; called again with half the batch where the first one did not fit into memory."""
        super()._build_train_pipeline()

    def set_training_mode(self) -> None:
        """Put the model into training mode; called before every epoch."""
        super()._model_train()

    def recover_from_nan(self, epoch: int) -> bool:
        """Load the last checkpoint where the loss is not finite; called after every epoch.

        Returns:
            Whether the epoch has to be repeated.
        """
        return super()._handle_nan_recovery(epoch)

    def close_mosaic(self) -> None:
        """Switch mosaic augmentation off in the training loader; called for the last epochs."""
        super()._close_dataloader_mosaic()

    def close_loaders(self) -> None:
        """Stop the workers of the data loaders; torch then no longer raises an error where one of them has ended."""
        for loader in (getattr(self, "train_loader", None), getattr(self, "test_loader", None)):
            iterator: Any = getattr(loader, "iterator", None)
            if hasattr(iterator, "_shutdown_workers"):
                stop_workers(iterator)

    def holds_frozen_norms(self) -> bool:
        """Tell whether this Ultralytics keeps the statistics of frozen normalisations; until 8.3.100 it does not."""
        return hasattr(super(), "_model_train")

    def recovers_from_nan(self) -> bool:
        """Tell whether this Ultralytics repeats an epoch whose loss is not finite; old releases do not."""
        return hasattr(super(), "_handle_nan_recovery")

    # --- the private methods of the host, each of which calls its hook ------------------------------------------------
    def _setup_train(self, *args: Any, **kwargs: Any) -> Any:
        return self.setup_training(*args, **kwargs)

    def _build_train_pipeline(self) -> None:
        self.build_loaders()

    def _model_train(self) -> None:
        self.set_training_mode()

    def _close_dataloader_mosaic(self) -> None:
        self.close_mosaic()

    def _handle_nan_recovery(self, epoch: int) -> bool:
        return self.recover_from_nan(epoch)

    # --- the state ----------------------------------------------------------------------------------------------------
    def training_state(self) -> dict[str, Any]:
        """Return the state that the next epoch needs, in full precision, except random numbers."""
        model = unwrapped(self.model)
        updates = getattr(getattr(model, "criterion", None), "updates", None)
        return {
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
            "stopper": {k: getattr(self.stopper, k) for k in _OF_STOPPER if hasattr(self.stopper, k)},
            "criterion_updates": updates if isinstance(updates, int) else None,
            "csv": self.csv.read_text(encoding="utf-8") if self.csv.is_file() else None,
        }

    def restore_training_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state from :meth:`training_state`, except the gradients; training resumes after its epoch."""
        model: Any = unwrapped(self.model)
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
        if state["csv"] is not None:
            self.csv.write_text(state["csv"], encoding="utf-8")
        self.start_epoch = state["epoch"] + 1
        self.scheduler.last_epoch = state["epoch"]
        if self.start_epoch > self.epochs - self.args.close_mosaic:  # until 8.4.190 it was closed in passing only
            self.close_mosaic()

    def restore_gradients(self, gradients: Mapping[str, Any]) -> None:
        """Restore gradients that waited for their optimizer step."""
        for name, parameter in unwrapped(self.model).named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device)


@contextlib.contextmanager
def no_vain_download() -> Iterator[None]:
    """Let Ultralytics' check of mixed precision not wait for its model where the machine is offline and has none.

    It is told so at once, and goes on as it does after its attempts to download the model.
    """
    from ultralytics import utils
    from ultralytics.utils import downloads

    original = downloads.attempt_download_asset
    download = getattr(original, "__wrapped__", original)

    def attempt(file: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = Path(str(file))
        if not utils.ONLINE and wanted.parent == Path(utils.WEIGHTS_DIR) and not wanted.exists():
            raise ConnectionError(f"{wanted.name} is not there, and the machine is offline")
        return download(file, *args, **kwargs)

    with redirected(downloads, attempt_download_asset=attempt):
        yield


def claim_run_folder(args: Any, name: str | None = None) -> Path:
    """Return the folder of a run as Ultralytics chooses it, created at once so that no other training takes it too."""
    from ultralytics.cfg import get_save_dir
    from ultralytics.utils import RANK

    while True:
        folder = Path(get_save_dir(args, name))
        if RANK not in (-1, 0) or args.exist_ok or getattr(args, "save_dir", None):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another training was faster: try the next number
            folder.mkdir()
            return folder


def worker_program(trainer: Any) -> Path:
    """Write the program that Ultralytics gives to each process of a multi-GPU training, and return its path."""
    from ultralytics.utils import dist

    return Path(dist.generate_ddp_file(trainer))
