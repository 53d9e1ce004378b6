"""Trainer mixin that logs the gates of the model it trains."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from yolo_attn.gates import GATES
from yolo_attn.gates.find import Location, attention_blocks
from yolo_attn.gates.log import MIN_CHANGE, measure_gates, read_gates, unchanged_gates, write_gates
from yolo_attn.gates.statistics import distance
from yolo_attn.host.compat import trained_model
from yolo_attn.host.trainer import TrainerHooks

IMAGES, TRAINED_PER_IMAGE = 4, 200
"""Images that the gates are measured on: at most the first number, one per the second number of training images."""
_NAMED = 8  # blocks that the warning at the end names, at most
_LOG = logging.getLogger("ultralytics")


class GateLog(TrainerHooks):
    """Trainer mixin: log the gates to ``gates.csv`` before training and after every epoch.

    Random numbers, weights and batch statistics stay as without it, and a failure ends the log, not the training.
    To be mixed into a :class:`yolo_attn.train.resume.ResumeMixin` trainer.
    """

    _gate_images: Tensor | None = None
    _without_maps: tuple[str, ...] = ()

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Send scalars to an experiment logger; does nothing unless overridden."""

    def setup_training(self, *args: Any, **kwargs: Any) -> Any:
        """Set up training, and have the gates measured before it and after each epoch."""
        self._first_gates: dict[str, np.ndarray] = {}
        done = super().setup_training(*args, **kwargs)
        if int(os.getenv("RANK", "-1")) in (-1, 0) and self._gate_blocks():
            own = type(self)
            self.add_callback("on_train_start", own._begin_gate_log)
            self.add_callback("on_train_epoch_end", own._log_gates)
            self.add_callback("on_train_end", own._warn_of_unchanged_gates)
        return done

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "gates": {key: torch.from_numpy(v) for key, v in self._first_gates.items()}}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        self._first_gates = {key: values.numpy() for key, values in state.get("gates", {}).items()}

    def _gate_blocks(self) -> dict[Location, nn.Module]:
        """Return the blocks that can be logged; warn once of those without ``attention(x)``."""
        blocks = attention_blocks(trained_model(self.ema.ema))
        without = {at.block for at, block in blocks.items() if not hasattr(block, "attention")}
        if names := sorted(without - set(self._without_maps)):
            _LOG.warning(f"{GATES} leaves out {', '.join(names)}: a block is logged by its method attention(x)")
            self._without_maps += tuple(names)
        return {at: block for at, block in blocks.items() if at.block not in without}

    def _begin_gate_log(self) -> None:
        if self.start_epoch == 0:
            (self.save_dir / GATES).unlink(missing_ok=True)
        with self._close_log_on_failure():
            count = min(IMAGES, max(1, len(self.train_loader.dataset) // TRAINED_PER_IMAGE))
            self._gate_images = fixed_images(self.test_loader, count).to(self.device)
        if not self._first_gates:
            self._log_gates(epoch=0)

    def _log_gates(self, epoch: int | None = None) -> None:
        """Measure the gates and add their rows to the log.

        Args:
            epoch: Number in the log; by default that of the epoch that just ended, from 1.
        """
        if self._gate_images is None:
            return
        epoch, measured = self.epoch + 1 if epoch is None else epoch, []
        with self._close_log_on_failure():
            measured = measure_gates(self._gate_blocks(), trained_model(self.ema.ema), self._gate_images)
        for found in measured:
            if (first := self._first_gates.get(found.key)) is None or first.shape != found.values.shape:
                self._first_gates[found.key] = found.values
        if epoch == 0 and self.start_epoch:
            return  # resumed from a state without first maps: today's are the first, and epoch 0 is not logged
        rows = [found.row(epoch, distance(found.values, self._first_gates[found.key])) for found in measured]
        file = self.save_dir / GATES
        kept = [row for row in read_gates(file) if row.epoch < epoch]  # an epoch that is repeated replaces its rows
        write_gates(file, [*kept, *rows])
        for row in rows:
            name = f"gates/{row.path.removeprefix('model.')}_{row.block}_{row.map}"
            numbers = {"mean": row.mean, "std": row.std, "distance": row.distance}
            self.log_scalars({f"{name}/{key}": value for key, value in numbers.items() if value is not None}, epoch)

    @contextlib.contextmanager
    def _close_log_on_failure(self) -> Iterator[None]:
        """Preserve the state of random generators, and close the log on any failure."""
        try:
            with unchanged_randomness(self.device):
                yield
        except Exception as error:  # a user's block, or too little memory for a few more images
            _LOG.warning(f"{GATES} ends here: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            self._gate_images = None

    def _warn_of_unchanged_gates(self) -> None:
        rows = [row for row in read_gates(self.save_dir / GATES) if row.epoch]
        if unchanged := unchanged_gates(rows):
            named = ", ".join(unchanged[:_NAMED]) + (
                f" and {len(unchanged) - _NAMED} more" if len(unchanged) > _NAMED else ""
            )
            _LOG.warning(
                f"{len(unchanged)} of {len({row.path for row in rows})} gates changed by less than {MIN_CHANGE:.1%} "
                f"during training: {named}; see {self.save_dir / GATES}"
            )


def fixed_images(loader: Any, count: int) -> Tensor:
    """Return the first images of a validation loader as the model takes them; the loader itself stays untouched.

    Args:
        loader: The loader.
        count: Number of images, at most one batch.

    Returns:
        ``(N, 3, h, w)``, in [0, 1].
    """
    dataset = loader.dataset
    items = [dataset[i] for i in range(min(count, len(dataset), loader.batch_size))]
    images: Tensor = (getattr(dataset, "collate_fn", None) or default_collate)(items)["img"]
    return images if images.is_floating_point() else images.float() / 255


@contextlib.contextmanager
def unchanged_randomness(device: torch.device) -> Iterator[None]:
    """Restore the random number generators of Python, numpy and torch on leaving.

    They are those of the process: what other threads draw meanwhile is drawn again.

    Args:
        device: Device whose random generator is restored together with the CPU's.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
