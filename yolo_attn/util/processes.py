"""Helpers for comparison subprocesses: exit with the parent, one process per folder."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

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


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB.

    On Linux that of the running program: ``getrusage`` would give that of the process that started it, if that is more.
    """
    memory: Any = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return float(memory.peak_wset / 2**20)
    if sys.platform == "linux":
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return float(status["VmHWM"].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


_left_with_parent_mb = 0.0


def note_fork() -> None:
    """Note, in a new fork, the memory of the libraries that its parent has read, which the peak has to count."""
    global _left_with_parent_mb
    parent, own = (psutil.Process(pid).memory_info().shared / 2**20 for pid in (os.getppid(), None))
    _left_with_parent_mb = max(parent - own, 0.0)


def peak_with_libraries_mb() -> float:
    """Return the peak memory of this process in MB about as if it had read its libraries itself, and were no fork.

    A fork maps the pages of files only as it uses them. Those that it does are counted twice.
    """
    return peak_memory_mb() + _left_with_parent_mb
