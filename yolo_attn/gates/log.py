"""What every gate of a model does while it is trained, epoch by epoch: ``gates.csv`` beside ``results.csv``.

The same few validation images go through the averaged weights, the ones that are validated and saved, before training
and after every epoch. So a row of one epoch can be compared with that of another, and a gate that never leaves where it
began is seen.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import logging
import math
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from yolo_attn.gates import GATES
from yolo_attn.gates.find import Site, find_sites
from yolo_attn.gates.statistics import GateStatistics, distance, maps_of, ranges_of, statistics_of, thinned
from yolo_attn.host.registry import registered
from yolo_attn.models.graph import level_of
from yolo_attn.util.files import write_whole

COLUMNS = (
    "epoch", "row", "place", "block", "path", "map", "mean", "std", "min", "max", "dead", "saturated", "distance",
)  # fmt: skip
IMAGES, TRAINED_PER_IMAGE = 4, 200
"""At most so many images are looked at, and one for so many of the training, so that it costs next to nothing."""
MOVED = 0.001
"""A gate has moved where it differs by this share of itself from what it was before training."""
_SHOWN = 8
_LOG = logging.getLogger("ultralytics")


# --- what is measured -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Measured:
    """What one map of a block was for the fixed images.

    Attributes:
        site: The block.
        number: Which of the block's maps, from 1.
        place: Part of the model and level, e.g. ``neck:P3``.
        statistics: Over all its values.
        values: The values, or some of them evenly spaced.
    """

    site: Site
    number: int
    place: str
    statistics: GateStatistics
    values: Tensor

    @property
    def key(self) -> str:
        """What tells it from the other maps of a model."""
        return f"{self.site.path}:{self.number}"


def attention_sites(model: nn.Module) -> dict[Site, nn.Module]:
    """Return the attention blocks of a YOLO model, rows and inside host blocks, in the order of the rows."""
    modules = dict(model.named_modules())
    return {site: modules[path] for path, site in find_sites(model, registered()).items()}


def measure_gates(sites: Mapping[Site, nn.Module], model: nn.Module, images: Tensor) -> list[Measured]:
    """Run a model and return what its blocks computed on the way; nothing about the model changes.

    Args:
        sites: Its blocks, as :func:`attention_sites` has them, each with a method ``attention(x)``.
        model: The model, in evaluation mode.
        images: Its input.
    """
    measured: list[Measured] = []
    take = functools.partial(_take, measured, images.shape[2])
    hooks = [block.register_forward_pre_hook(functools.partial(take, site)) for site, block in sites.items()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return measured


def _take(measured: list[Measured], height: int, site: Site, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    level = level_of(height / inputs[0].shape[2])
    place = f"{site.section}:{level}" if level else site.section
    maps = maps_of(block, inputs[0])
    for number, (values, top) in enumerate(zip(maps, ranges_of(block, maps), strict=True), 1):
        measured.append(Measured(site, number, place, statistics_of(values, top), thinned(values)))


def fixed_images(loader: Any, count: int) -> Tensor:
    """Return the first images of a validation loader as the model takes them, without touching the loader itself."""
    dataset = loader.dataset
    items = [dataset[i] for i in range(min(count, len(dataset), loader.batch_size))]
    images = (getattr(dataset, "collate_fn", None) or default_collate)(items)["img"]
    return images if images.is_floating_point() else images.float() / 255


@contextlib.contextmanager
def unchanged_randomness(device: torch.device) -> Iterator[None]:
    """Leave all random numbers drawn after this as if nothing had been drawn in it."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


# --- the file ---------------------------------------------------------------------------------------------------------
def read_gates(file: Path) -> list[dict[str, str]]:
    """Return the rows of a gate log, none where there is no file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def write_gates(file: Path, kept: Sequence[Mapping[str, str]], added: Iterable[Mapping[str, Any]]) -> None:
    """Write a gate log whole."""
    rows = [*kept, *({k: _as_text(v) for k, v in row.items()} for row in added)]
    lines = [",".join(COLUMNS), *(",".join(row[k] for k in COLUMNS) for row in rows)]
    write_whole(file, "\n".join(lines) + "\n")


def _as_text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def row_of(epoch: int, found: Measured, moved: float) -> dict[str, Any]:
    """Return a map's row of the log."""
    site, s = found.site, found.statistics
    return {
        "epoch": epoch, "row": site.row, "place": found.place, "block": site.block, "path": site.path,
        "map": found.number, "mean": s.mean, "std": s.std, "min": s.low, "max": s.high, "dead": s.dead,
        "saturated": s.saturated, "distance": moved,
    }  # fmt: skip


def never_moved(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Name the blocks of a log of which no map was ever as far as ``MOVED`` from where it began."""
    farthest: dict[str, tuple[float, str]] = {}
    for row in rows:
        inside = row["path"].split(".", 2)[2:]
        name = f"row {row['row']} {row['block']} ({row['place']}{', ' + inside[0] if inside else ''})"
        before = farthest.get(row["path"], (0.0, name))[0]
        farthest[row["path"]] = (max(before, float(row["distance"] or "nan")), name)
    return [name for moved, name in farthest.values() if moved < MOVED]


# --- the trainer's part -----------------------------------------------------------------------------------------------
class GateLog:
    """Mixin for a :class:`yolo_attn.train.resume.Resumable` trainer: logs the gates, and changes nothing else."""

    _gate_images: Tensor | None = None
    _without_maps: tuple[str, ...] = ()

    def _setup_train(self, *args: Any, **kwargs: Any) -> Any:
        self._first_gates: dict[str, Tensor] = {}
        done = super()._setup_train(*args, **kwargs)
        if int(os.getenv("RANK", "-1")) in (-1, 0) and self._gate_sites():
            own = type(self)
            self.add_callback("on_train_start", own._begin_gate_log)
            self.add_callback("on_train_epoch_end", own._log_gates)
            self.add_callback("on_train_end", own._say_which_gates_never_moved)
        return done

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Hand scalars to whatever else logs this training; here nothing does."""

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "gates": self._first_gates}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        self._first_gates = state.get("gates", {})

    def _gate_sites(self) -> dict[Site, nn.Module]:
        sites = attention_sites(self.ema.ema)
        without = {site.block for site, block in sites.items() if not hasattr(block, "attention")}
        if names := sorted(without - set(self._without_maps)):
            _LOG.warning(f"{GATES} leaves out {', '.join(names)}: a block is logged by its method attention(x)")
            self._without_maps += tuple(names)
        return {site: block for site, block in sites.items() if site.block not in without}

    def _begin_gate_log(self) -> None:
        file = self.save_dir / GATES
        if self.start_epoch == 0:
            file.unlink(missing_ok=True)
        count = min(IMAGES, max(1, len(self.train_loader.dataset) // TRAINED_PER_IMAGE))
        with self._harmless():
            self._gate_images = fixed_images(self.test_loader, count).to(self.device)
        if not self._first_gates:
            self._log_gates(epoch=0)

    def _log_gates(self, epoch: int | None = None) -> None:
        """Measure the gates; the first time ever they become what later ones are compared with."""
        if self._gate_images is None:
            return
        epoch, measured = self.epoch + 1 if epoch is None else epoch, []
        with self._harmless():
            measured = measure_gates(self._gate_sites(), self.ema.ema, self._gate_images)
        for found in measured:
            if (first := self._first_gates.get(found.key)) is None or first.shape != found.values.shape:
                self._first_gates[found.key] = found.values
        moved = [distance(found.values, self._first_gates[found.key]) for found in measured]
        if epoch == 0 and self.start_epoch:
            return  # resumed without the first values: they are those of now, and no row
        file = self.save_dir / GATES
        kept = [row for row in read_gates(file) if int(row["epoch"]) < epoch]  # what is done again is written again
        write_gates(file, kept, (row_of(epoch, f, m) for f, m in zip(measured, moved, strict=True)))
        for found, distance_ in zip(measured, moved, strict=True):
            name = f"gates/{found.site.path.removeprefix('model.')}_{found.site.block}_{found.number}"
            s = found.statistics
            self.log_scalars({f"{name}/mean": s.mean, f"{name}/std": s.std, f"{name}/distance": distance_}, epoch)

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Keep random numbers as they are; what fails ends the log, not the training."""
        try:
            with unchanged_randomness(self.device):
                yield
        except Exception as error:  # a user's block, or too little memory for a few more images
            _LOG.warning(f"{GATES} ends here: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            self._gate_images = None

    def _say_which_gates_never_moved(self) -> None:
        rows = [row for row in read_gates(self.save_dir / GATES) if row["epoch"] != "0"]
        if still := never_moved(rows):
            shown = ", ".join(still[:_SHOWN]) + (f" and {len(still) - _SHOWN} more" if len(still) > _SHOWN else "")
            gates = len({row["path"] for row in rows})
            _LOG.warning(
                f"{len(still)} of {gates} gates never moved by as much as {MOVED:.1%} from where they began: {shown}; "
                f"see {self.save_dir / GATES}"
            )
