"""Measure what an epoch costs by different trainers: seconds, CPU seconds, workers started, images read from disk."""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from yolo_attn.util.words import key_values

from .paths import variables

WAYS = ("ultralytics", "train", "compare")
SETTINGS = {"epochs": 5, "close_mosaic": 0, "plots": False, "optimizer": "SGD", "amp": False, "verbose": False}


def measure(way: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train a model and return seconds, workers started and images read of each epoch but the first and the last.

    Args:
        way: Who trains: ``ultralytics``, ``train`` or ``compare``.
        settings: ``model``, ``data`` and training arguments.
        folder: Folder for the training.
    """
    from ultralytics.utils.callbacks import default_callbacks

    read, started = _count_reads(), _count_workers()
    stored = _time_states()
    ticks: list[tuple[float, float, int, int]] = []
    workers = settings.pop("workers", 2)
    begin = default_callbacks["on_pretrain_routine_start"]
    begin.append(lambda trainer: setattr(trainer.args, "workers", workers))  # Ultralytics has none on the CPU
    default_callbacks["on_train_epoch_start"].append(
        lambda trainer: ticks.append((time.perf_counter(), _cpu_seconds(), started(), read()))
    )
    _train(way, settings, folder)
    epochs = list(itertools.pairwise(ticks[1:]))
    return {
        "seconds": [round(b[0] - a[0], 3) for a, b in epochs],
        "CPU seconds": [round(b[1] - a[1], 3) for a, b in epochs],
        "workers started": [b[2] - a[2] for a, b in epochs],
        "images read": [b[3] - a[3] for a, b in epochs],
        "seconds of state.pt": stored[1:-1],
    }


def _train(way: str, settings: dict[str, Any], folder: Path) -> None:
    import ultralytics

    import yolo_attn as ya
    from yolo_attn.compare import host

    model, data = settings.pop("model"), settings.pop("data")
    if way == "compare":
        host.train(Path(model), data, None, 0, folder / "run", settings)
        return
    wrapper: Any = ultralytics.YOLO if way == "ultralytics" else ya.YOLO
    wrapper(model).train(**settings, data=data, project=str(folder), name="run", pretrained=False)


def _cpu_seconds() -> float:
    """Return the CPU seconds so far of this process and its workers, which other work on the machine hardly changes."""
    me = psutil.Process()
    times = [me.cpu_times(), *(child.cpu_times() for child in me.children(recursive=True))]
    ended = times[0].children_user + times[0].children_system
    return float(sum(time.user + time.system for time in times) + ended)


def _count_reads() -> Callable[[], int]:
    """Count the images that datasets read, here and in processes forked from here; return a function that says so."""
    from ultralytics.data import base

    number: Any = multiprocessing.Value("i", 0)
    imread = base.imread

    def counting(*args: Any, **kwargs: Any) -> Any:
        with number.get_lock():
            number.value += 1
        return imread(*args, **kwargs)

    vars(base)["imread"] = counting
    return lambda: int(number.value)


def _count_workers() -> Callable[[], int]:
    """Count the workers that data loaders start; return a function that says so."""
    from torch.utils.data import dataloader

    seen: list[int] = []
    original: Any = dataloader._MultiProcessingDataLoaderIter

    class Iterator(original):  # type: ignore[misc]
        def __init__(self, loader: Any) -> None:
            super().__init__(loader)
            seen.append(len(self._workers))

    vars(dataloader)["_MultiProcessingDataLoaderIter"] = Iterator
    return lambda: sum(seen)


def _time_states() -> list[float]:
    """Time the writing of ``state.pt``; return the list that gets the seconds of each epoch."""
    from yolo_attn.train import resume

    seconds: list[float] = []
    write = resume.write_torch

    def timing(*args: Any) -> None:
        began = time.perf_counter()
        write(*args)
        seconds.append(round(time.perf_counter() - began, 3))

    vars(resume)["write_torch"] = timing
    return seconds


def in_turn(words: Sequence[str], rounds: int) -> dict[str, Any]:
    """Measure all trainers in turn, in another order in each round, and compare them with Ultralytics'."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS[number % 3 :] + WAYS[: number % 3]:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "instruments.epochs", *words, "--way", way, "--folder", folder]
                done = subprocess.run(command, capture_output=True, text=True, env=variables())
            if done.returncode:
                raise RuntimeError(done.stderr[-3000:])
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {number + 1}, {way}: {found[way][-1]}", file=sys.stderr, flush=True)
    return {
        way: {
            **_compared(found, way, "seconds"),
            **_compared(found, way, "CPU seconds"),
            **{what: _all_of(found[way], what) for what in ("workers started", "images read", "seconds of state.pt")},
        }
        for way in WAYS
    }


def _compared(found: Mapping[str, Sequence[dict[str, Any]]], way: str, what: str) -> dict[str, Any]:
    """Return the median of a time, and its ratio to that of Ultralytics in the same round: the median, and all."""
    mine, reference = ([statistics.median(one[what]) for one in found[name]] for name in (way, WAYS[0]))
    ratios = [a / b for a, b in zip(mine, reference, strict=True)]
    return {
        what: round(statistics.median(mine), 3),
        f"ratio of {what}": round(statistics.median(ratios), 3),
        f"ratios of {what}": [round(ratio, 3) for ratio in ratios],
    }


def _all_of(measured: Sequence[dict[str, Any]], what: str) -> float:
    values = [value for one in measured for value in one[what]]
    return round(statistics.fmean(values), 3) if values else 0.0


def main() -> None:
    """Run ``tools/measure_epochs.py``: print the epochs of each trainer, and their ratio to Ultralytics'."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="+", metavar="key=value", help="as `yolo-attn train` takes them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, {**SETTINGS, **key_values(given.settings)}, given.folder)))
        return
    for way, values in in_turn(given.settings, given.rounds).items():
        print(f"{way}: {values}")


if __name__ == "__main__":
    main()
