"""Run Ultralytics' command line in this process, and its processes by the command line of this package."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from yolo_attn.host.compat import patched, redirected


def run_command(words: Sequence[str], **models: type) -> None:
    """Run Ultralytics' command line in this process, which offers no argument for its words or its model classes.

    Other threads see the words and the classes too: for a process of its own, as a command line has.

    Args:
        words: What follows ``yolo``, e.g. ``["train", "model=yolo11n-ela.yaml", "data=coco8.yaml"]``.
        **models: Classes to use in place of those of ``ultralytics``, by their name there.
    """
    import ultralytics
    import ultralytics.cfg

    before = {name: getattr(ultralytics, name) for name in models}
    try:
        with patched(ultralytics, **models), _arguments_of_process(["yolo", *words]):
            ultralytics.cfg.entrypoint()
    finally:
        for name, cls in models.items():
            for module in [module for module in _host_modules(name) if getattr(module, name) is cls]:
                setattr(module, name, before[name])  # of a module imported meanwhile


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
            for module in _host_modules("ARGV"):
                replaced.enter_context(patched(module, ARGV=words))
            yield
    finally:
        for module in _host_modules("ARGV"):
            if module.ARGV is words:  # imported meanwhile
                module.ARGV = before


@contextlib.contextmanager
def own_training_command(needed: bool) -> Iterator[None]:
    """Have the trainings that Ultralytics starts as processes of their own run this package's command, in this thread.

    Args:
        needed: Whether such trainings are certain to be started; a warning then says where this cannot be done.
    """
    from ultralytics.engine import trainer

    if isinstance(vars(trainer).get("_YOLO_CLI_COMMAND"), list):
        with redirected(trainer, _YOLO_CLI_COMMAND=[sys.executable, "-m", "yolo_attn"]):
            yield
        return
    if needed:
        logging.getLogger("ultralytics").warning(
            "this Ultralytics trains here by its own command: pretrained weights go by layer number there, "
            "freeze=base has no effect, and neither gates.csv nor state.pt is written"
        )
    yield


def _host_modules(name: str) -> list[Any]:
    """Return the loaded modules of Ultralytics that hold a name."""
    loaded: list[tuple[str, ModuleType]] = list(sys.modules.items())
    host = [module for path, module in loaded if path.partition(".")[0] == "ultralytics"]
    return [module for module in host if name in getattr(module, "__dict__", {})]
