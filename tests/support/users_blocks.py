"""Register user-defined blocks temporarily."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

import yolo_attn as ya


@contextmanager
def known(*classes: type[nn.Module]) -> Iterator[None]:
    """Register blocks, and unregister them at the end."""
    for cls in classes:
        ya.register(cls)
    try:
        yield
    finally:
        for cls in classes:
            ya.unregister(cls.__name__)
