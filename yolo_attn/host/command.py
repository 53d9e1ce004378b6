"""Run Ultralytics' command line in this process."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from yolo_attn.host.compat import patched


def run_command(words: Sequence[str], **models: type) -> None:
    """Run Ultralytics' command line in this process, which offers no argument for its words or its model classes.

    Args:
        words: What follows ``yolo``, e.g. ``["train", "model=yolo11n-ela.yaml", "data=coco8.yaml"]``.
        **models: Classes to use in place of those of ``ultralytics``, by their name there.
    """
    import ultralytics
    import ultralytics.cfg

    with patched(ultralytics, **models), _arguments_of_process(["yolo", *words]):
        ultralytics.cfg.entrypoint()


@contextlib.contextmanager
def _arguments_of_process(words: list[str]) -> Iterator[None]:
    """Let every module of Ultralytics take these for the arguments of the process, also one imported meanwhile.

    Each module holds them as ``ARGV``: where predictions are saved and streamed, the words are read in one module, and
    by the parser in another. The module for usage statistics reads them when it is imported, which is done before.
    """
    with contextlib.suppress(ImportError):  # not in every release
        importlib.import_module("ultralytics.utils.events")
    before: Any = importlib.import_module("ultralytics.utils").ARGV
    try:
        with contextlib.ExitStack() as replaced:
            for module in _host_modules():
                replaced.enter_context(patched(module, ARGV=words))
            yield
    finally:
        for module in _host_modules():
            if module.ARGV is words:  # imported meanwhile
                module.ARGV = before


def _host_modules() -> list[Any]:
    """Return the loaded modules of Ultralytics that hold the arguments of the process."""
    loaded: list[tuple[str, ModuleType]] = list(sys.modules.items())
    return [m for name, m in loaded if name.partition(".")[0] == "ultralytics" and "ARGV" in getattr(m, "__dict__", {})]
