"""Pytest plugin for runs of the host's tests, given by ``-p``: no hanging, and this package in the host's place.

It is controlled by environment variables, because other processes read them too: ``HOST_SUITE_SECONDS`` per test,
``HOST_SUITE_PLOTS``, and ``HOST_SUITE_REPLACES``: empty in a plain run, else ``models`` or ``models trainers``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

MODELS = ("YOLO", "RTDETR", "YOLOWorld", "YOLOE")
SECONDS = float(os.environ.get("HOST_SUITE_SECONDS", "600"))
REPLACES = os.environ.get("HOST_SUITE_REPLACES", "").split()


def pytest_configure(config: pytest.Config) -> None:
    """Replace the model classes before a test module imports them, and leave plots out if asked to."""
    import ultralytics.utils

    if not os.environ.get("HOST_SUITE_PLOTS"):
        ultralytics.utils.DEFAULT_CFG_DICT["plots"] = ultralytics.utils.DEFAULT_CFG.plots = False
    if "models" in REPLACES:
        replace_models()
    if "trainers" in REPLACES:
        replace_trainers()


def replace_models() -> None:
    """Put the classes of this package in the place of Ultralytics', where it has them."""
    import ultralytics

    import yolo_attn

    for name in MODELS:
        if hasattr(yolo_attn, name):
            setattr(ultralytics, name, getattr(yolo_attn, name))


def replace_trainers() -> None:
    """Put the trainers of this package in the place of Ultralytics'."""
    from ultralytics.models import yolo

    from yolo_attn.train.trainer import trainer_class

    for task in ("detect", "segment", "classify", "pose", "obb", "semantic", "depth"):
        module = getattr(yolo, task)
        for name in [name for name in dir(module) if name.endswith("Trainer")]:
            setattr(module, name, trainer_class(getattr(module, name)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Lift the skips of tests that ask for a network while they are collected: what they would download is there."""
    import ultralytics.utils

    with mock.patch.object(ultralytics.utils, "ONLINE", True):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of the command line run ``yolo-attn``."""
    if "models" in REPLACES:
        for module in {item.module for item in items if item.module.__name__ == "tests.test_cli"}:  # type: ignore[attr-defined]
            module.run = run_our_command


def run_our_command(command: str) -> None:
    """Run a command of ``yolo`` as one of ``yolo-attn``; has the place of ``tests.test_cli.run``."""
    program, *words = command.split()
    if program != "yolo":
        raise ValueError(f"not a command of yolo: {command}")
    subprocess.run(["yolo-attn", *words], check=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[Any]:
    """Fail a test that takes too long; end the process if it cannot be interrupted."""
    with limit(SECONDS):
        return (yield)


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread after this time, and end the process if that takes as long again."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(2 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()
