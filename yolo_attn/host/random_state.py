"""Random states of a training: of the process, of the loader's workers, and of the order of the images.

A training is continued from them as if it had not been interrupted, without any change to what it draws.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from yolo_attn.host.data import fill_mosaic_buffer, host_datasets

STAMP = "yolo_attn.random_state"
"""Key under which a worker puts its state into a batch."""


@dataclass(frozen=True)
class RandomState:
    """States of the random generators of a process, and the images that it would draw mosaics from."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    devices: list[torch.Tensor]
    buffers: list[list[int]]

    @classmethod
    def capture(cls, dataset: Any, devices: bool = True) -> RandomState:
        """Return the state of this process.

        Args:
            dataset: Its training dataset.
            devices: Whether to read those of the GPUs, which a worker has no part in.
        """
        return cls(
            random.getstate(),
            np.random.get_state(),
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if devices and torch.cuda.is_available() else [],
            [list(getattr(inner, "buffer", ())) for inner in host_datasets(dataset)],
        )

    def restore(self, dataset: Any) -> None:
        """Put this process into the state."""
        for inner, buffer in zip(host_datasets(dataset), self.buffers, strict=False):
            fill_mosaic_buffer(inner, buffer)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.devices:
            torch.cuda.set_rng_state_all(self.devices[: torch.cuda.device_count()])


class LoaderRecord:
    """Record of what Ultralytics' training loader draws; continues a new loader from the record of another.

    The loader keeps one iterator over epochs, and makes a new one where mosaics end. Its order of images is drawn again
    from the beginning to continue it, without loading any image. Each worker puts its random state into its batches.

    Args:
        loader: Ultralytics' loader, which has not begun.
    """

    def __init__(self, loader: Any):
        self.loader = loader
        self._make: Callable[[], Any] = loader._get_iterator
        self._seed = loader.generator.initial_seed()
        self._drawn: list[int] = []  # batches by iterator
        self._of_workers: dict[int, bytes] = {}
        self._ahead = 0
        self._continues = self._begins_anew = False
        loader._get_iterator = self._get_iterator
        if loader.num_workers:
            self._initialize = _Initialize(loader.worker_init_fn, loader.num_workers)
            loader.worker_init_fn = self._initialize
            loader.collate_fn = _Stamp(loader.collate_fn, self._initialize)

    def count(self, batch: Any) -> None:
        """Count a batch, and take the worker's state out of it."""
        self._drawn[-1] += 1
        self._continues = self._begins_anew = False
        if isinstance(batch, dict) and (stamp := batch.pop(STAMP, None)) is not None:
            role, state = stamp
            self._of_workers[role] = state.numpy().tobytes()

    def begin_anew(self) -> None:
        """Have a continued loader make a new iterator, because mosaics end with the epoch that is resumed."""
        self._begins_anew = self._continues

    def state(self) -> dict[str, Any]:
        """Return the record."""
        workers = self.loader.num_workers
        return {
            "seed": self._seed,
            "drawn": list(self._drawn),
            "ahead": workers * (self.loader.prefetch_factor or 0),
            "workers": workers,
            "of_workers": dict(self._of_workers),
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Continue from a record; return whether that is exact, which it is with the same number of workers only."""
        self._seed, self._drawn, self._ahead = state["seed"], list(state["drawn"]), state["ahead"]
        self._continues = bool(self._drawn)
        same = bool(state["workers"] == self.loader.num_workers)
        self._of_workers = dict(state["of_workers"]) if same else {}
        return same

    def _get_iterator(self) -> Any:
        if not self._continues:
            self._drawn.append(0)
            self._of_workers.clear()
            if self.loader.num_workers:
                self._initialize.continue_from({}, 0)
            return self._make()
        return self._continued()

    def _continued(self) -> Any:
        """Return an iterator after all that was drawn before."""
        loader, generator = self.loader, self.loader.generator
        generator.manual_seed(self._seed)
        workers, loader.num_workers = loader.num_workers, 0
        try:
            for drawn in self._drawn[:-1]:
                _skip(self._make(), drawn + self._ahead)
            iterator = self._make()
            _skip(iterator, self._drawn[-1] + self._ahead * self._begins_anew)
        finally:
            loader.num_workers = workers
        if self._begins_anew:
            self._continues = self._begins_anew = False
            return self._get_iterator()
        if not workers:
            return iterator
        self._initialize.continue_from(self._of_workers, self._drawn[-1])
        order = loader.batch_sampler
        object.__setattr__(loader, "batch_sampler", _Order(iterator._sampler_iter, generator))  # as the host does
        try:
            return self._make()
        finally:
            object.__setattr__(loader, "batch_sampler", order)


def record(loader: Any) -> LoaderRecord | None:
    """Return a record of a loader, or ``None`` where it cannot be continued from one.

    That is a loader that already began, as in earlier releases of Ultralytics, or whose images are augmented by a
    library with random generators of its own.
    """
    known = hasattr(loader, "iterator") and hasattr(loader, "_get_iterator") and loader.generator is not None
    if not known or loader.iterator is not None or any(map(_has_own_generators, host_datasets(loader.dataset))):
        return None
    return LoaderRecord(loader)


def _has_own_generators(dataset: Any) -> bool:
    steps = getattr(getattr(dataset, "transforms", None), "transforms", ())
    return any(hasattr(getattr(step, "transform", None), "set_random_seed") for step in steps)


def _skip(iterator: Any, batches: int) -> None:
    for _ in range(batches):
        next(iterator._sampler_iter)


class _Order:
    """Order of images that goes on where it stood when this was made."""

    def __init__(self, rest: Iterator[Any], generator: torch.Generator):
        self._rest, self._generator, self._state = rest, generator, generator.get_state()

    def __iter__(self) -> Iterator[Any]:
        self._generator.set_state(self._state)  # a new iterator of the loader draws a seed for its workers
        yield from self._rest


class _Initialize:
    """Function that initialises a worker: as the host does, and then with the state of the worker it continues."""

    def __init__(self, initialize: Callable[[int], None] | None, workers: int):
        self._initialize, self._workers = initialize, workers
        self._states: Mapping[int, bytes] = {}
        self._first = 0

    def continue_from(self, states: Mapping[int, bytes], drawn: int) -> None:
        """Continue from states of workers, of which another one is the first to be asked after an interruption."""
        self._states, self._first = states, drawn % self._workers

    def role(self, worker: int) -> int:
        """Return which of the workers before the interruption this one continues."""
        return (worker + self._first) % self._workers

    def __call__(self, worker: int) -> None:
        if self._initialize is not None:
            self._initialize(worker)
        info: Any = get_worker_info()
        if (state := self._states.get(self.role(worker))) is not None:
            pickle.loads(state).restore(info.dataset)


class _Stamp:
    """Function that collates a batch in a worker, and puts the worker's random state into it."""

    def __init__(self, collate: Callable[[Any], Any], initialize: _Initialize):
        self._collate, self._initialize = collate, initialize

    def __call__(self, items: Any) -> Any:
        batch = self._collate(items)
        info = get_worker_info()
        if info is not None and isinstance(batch, dict):
            state = RandomState.capture(info.dataset, devices=False)
            content = torch.frombuffer(bytearray(pickle.dumps(state)), dtype=torch.uint8)  # passed by shared memory
            batch[STAMP] = self._initialize.role(info.id), content
        return batch
