"""Helpers for comparison subprocesses: exit with the parent, one process per folder."""

from __future__ import annotations

import os
import threading
import time

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
