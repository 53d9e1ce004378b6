"""Resolve device words: ``cpu``, ``cuda``, ``mps`` or GPUs by number; by default the first GPU, if there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host.compat import patched


def torch_devices(words: str | int | None) -> list[str]:
    """Return the torch devices that a device argument names.

    Args:
        words: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``0``, ``0,1``, ``[0, 1]``; ``None`` or an empty string for the
            first GPU, or the CPU where there is none.

    Returns:
        E.g. ``["cpu"]`` or ``["cuda:0", "cuda:1"]``.

    Raises:
        YoloAttnError: If the words are not understood, or name a device that torch does not see.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(f"cuda:{i}" for i in range(gpus)), *(["mps"] if torch.backends.mps.is_available() else [])]
    if words is None or words == "":
        return ["cuda:0"] if gpus else ["cpu"]
    parts = [part.strip() for part in str(words).strip("[]() ").split(",")]
    names = ["cuda:0" if part == "cuda" else f"cuda:{part}" if part.isdigit() else part for part in parts]
    if len(names) > 1 and not all(name.startswith("cuda:") for name in names):
        raise YoloAttnError(f"device={words} is not understood; several devices are GPUs by number, e.g. 0,1")
    for name in names:
        number = name.removeprefix("cuda:")
        if number.isdigit() and int(number) >= gpus:
            raise YoloAttnError(f"unknown device '{words}': there is no GPU {number}, torch sees {gpus} of them")
        if name not in there:
            raise YoloAttnError(one_of("device", str(words), there))
    return names


def torch_device(words: str | int | None) -> str:
    """Return the one torch device that a device argument names, e.g. ``cuda:0``.

    Raises:
        YoloAttnError: If there is no such device, or several are named.
    """
    names = torch_devices(words)
    if len(names) > 1:
        raise YoloAttnError(f"device={words} names {len(names)} devices; give one")
    return names[0]


def training_devices(words: str | int | None) -> list[str]:
    """Return the devices of a comparison's runs: ``["cpu"]``, or the numbers of GPUs as strings.

    Raises:
        YoloAttnError: If there is no such device, or it is neither the CPU nor a CUDA GPU.
    """
    names = torch_devices(words)
    if "mps" in names:
        raise YoloAttnError("device=mps: a comparison runs on the CPU or on CUDA GPUs")
    return [name.removeprefix("cuda:") for name in names]


def device_kind(words: str | int | None) -> str:
    """Return ``cpu`` or ``cuda`` for the devices of a comparison."""
    return "cpu" if training_devices(words) == ["cpu"] else "cuda"


def default_threads() -> int:
    """Return how many threads Ultralytics uses on the CPU."""
    from ultralytics.utils import torch_utils

    return torch_utils.NUM_THREADS


@contextlib.contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """Let Ultralytics use this many threads on the CPU; it sets their number itself whenever it selects a device.

    The number is one for the whole process, in torch too: for a process of its own.
    """
    from ultralytics.utils import torch_utils

    if threads is None:
        yield
        return
    with patched(torch_utils, NUM_THREADS=threads):
        yield
