"""Log a line once per process, however often a model is built from the same rows."""

from __future__ import annotations

import functools

from yolo_attn.host.compat import tasks


@functools.cache
def say_once(text: str, *, warning: bool = False) -> None:
    """Log a line once per process: as information, or as a warning."""
    (tasks().LOGGER.warning if warning else tasks().LOGGER.info)(text)
