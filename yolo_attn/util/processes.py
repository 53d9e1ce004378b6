"""What processes that work for a comparison have in common: they end with it, and none works where another does."""

from __future__ import annotations

import os
import threading
import time

LOCK, LOCK_SECONDS = "run.lock", 60.0
"""How long a process waits for one that is at work in its folder, and about to end."""

PARENT = "YOLO_ATTN_PARENT"
"""Variable with the number of the process that started this one, which may have ended before this one looks."""


def stop_with_parent(seconds: float = 0.5) -> None:
    """Let this process end soon after the one that started it, however that ended."""
    parent = int(os.environ.get(PARENT, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
