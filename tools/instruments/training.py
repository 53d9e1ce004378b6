"""Measure what the gate log and the stored state add to a training: CPU seconds of this process, and megabytes."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import yolo_attn as ya
from yolo_attn.gates.host import GateLog
from yolo_attn.train import resume
from yolo_attn.util.words import key_values

PARTS: Mapping[type, tuple[str, ...]] = {
    GateLog: ("_log_gates",),
    resume.ResumeMixin: ("_begin_epoch", "_store", "save_model"),
}
"""Methods that are timed."""
SETTINGS = {"epochs": 2, "close_mosaic": 0, "plots": False}


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train a model and return what was measured.

    Args:
        settings: ``model`` and training arguments; by default two epochs with mosaics.

    Returns:
        Number of ``images`` in training and validation, CPU seconds of ``an epoch``, seconds of each call of each
        method ``of it``, and ``MB`` of each file in the folder of weights.
    """
    settings = {**SETTINGS, **settings}
    model: Any = ya.YOLO(settings.pop("model"))
    ticks: list[float] = []
    sizes: dict[str, int] = {}
    seconds: dict[str, list[float]] = {}
    model.add_callback("on_train_epoch_start", lambda trainer: ticks.append(time.process_time()))
    model.add_callback("on_fit_epoch_end", lambda trainer: ticks.append(time.process_time()))
    model.add_callback(
        "on_train_epoch_start", lambda trainer: sizes.update({f.name: f.stat().st_size for f in trainer.wdir.iterdir()})
    )
    with ExitStack() as stack:
        for owner, names in PARTS.items():
            for name in names:
                stack.enter_context(_timed(owner, name, seconds))
        model.train(**settings)
    loaders = model.trainer.train_loader, model.trainer.test_loader
    return {
        "images": [len(loader.dataset) for loader in loaders],
        "an epoch": [round(b - a, 2) for a, b in zip(ticks[:4:2], ticks[1:4:2], strict=True)],
        "of it": seconds,
        "MB": {name: round(size / 1e6, 1) for name, size in sizes.items()},
    }


@contextmanager
def _timed(owner: type, name: str, seconds: dict[str, list[float]]) -> Any:
    """Record the CPU seconds of each call of a method."""
    method: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(method)
    def timing(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.setdefault(name, []).append(round(time.process_time() - began, 3))

    setattr(owner, name, timing)
    try:
        yield
    finally:
        setattr(owner, name, method)


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/measure_training.py``: print the cost of a training with these settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="+", metavar="key=value", help="as `yolo-attn train` takes them")
    for name, value in measure(key_values(parser.parse_args(words).settings)).items():
        print(f"{name}: {value}")
