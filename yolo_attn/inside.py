"""Import path of gated host modules in checkpoints; the code is in :mod:`yolo_attn.host.gated`."""

from __future__ import annotations

from yolo_attn.host import gated


def __getattr__(name: str) -> type:
    """Return a gated class by the name that :func:`yolo_attn.host.gated.gated_class` gives it."""
    return gated.class_named(name)
