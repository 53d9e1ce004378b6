"""Helpers for comparison subprocesses: exit with the parent, one process per folder."""

from __future__ import annotations

import os
import threading
import time

import psutil

LOCK, LOCK_SECONDS = "run.lock", 60.0
"""File that a process locks in its folder, and seconds that another waits for it."""

PARENT = "YOLO_ATTN_PARENT"
"""Environment variable with the process id of the parent, which may end before this process reads its own."""


def stop_with_parent(seconds: float = 0.5) -> None:
    """Exit this process soon after its parent has ended for any reason.

    Args:
        seconds: Interval between two looks at the parent.
    """
    parent = int(os.environ.get(PARENT, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_left_with_parent_mb = 0.0


def note_fork() -> None:
    """Note, in a new fork, the memory of the libraries that its parent has read, which :func:`with_libraries` adds."""
    global _left_with_parent_mb
    parent, own = (psutil.Process(pid).memory_info().shared / 2**20 for pid in (os.getppid(), None))
    _left_with_parent_mb = max(parent - own, 0.0)


def with_libraries(peak_mb: float) -> float:
    """Return the peak memory of this process about as if it had read its libraries itself, and were no fork.

    A fork maps the pages of files only as it uses them. Those that it does are counted twice.
    """
    return peak_mb + _left_with_parent_mb
