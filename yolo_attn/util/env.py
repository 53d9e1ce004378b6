"""Collect hardware and versions for a result; set environment variables temporarily."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from yolo_attn.util.version import __version__


def environment(device: str = "cpu") -> dict[str, str | int]:
    """Return hardware and versions, to be stored with a result.

    Args:
        device: Torch device the measurement ran on, e.g. ``"cpu"`` or ``"cuda:0"``.
    """
    import torch

    found: dict[str, str | int] = {
        "device": device,
        "cpu": _cpu_name(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "commit": _commit(),
        **{name.replace("-", "_"): version_of(name) for name in ("torch", "ultralytics", "yolo-attn")},
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = str(torch.version.cuda)
    return found


def describe(env: dict[str, str | int]) -> str:
    """Describe an ``environment`` in one line."""
    where = f"{env['gpu']}, CUDA {env['cuda']}" if "gpu" in env else f"{env['cpu']}, {env['cores']} cores"
    return (
        f"{where}; Python {env['python']}, torch {env['torch']}, ultralytics {env['ultralytics']}, "
        f"yolo-attn {env['yolo_attn']}"
    )


def cores() -> int:
    """Return how many cores of the CPU this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of the process, which all its threads see, for the time of a ``with`` block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _commit() -> str:
    """Return the commit of this package's checkout, with a mark if files differ from it; empty where it is none."""
    package = Path(__file__).resolve().parents[1]
    where = ["git", "-C", str(package)]
    try:
        top = subprocess.run([*where, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if Path(top.stdout.strip(), "yolo_attn").resolve() != package:
            return ""
        found = subprocess.run([*where, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version_of(package: str) -> str:
    """Return the version of a package: of this one that of its code, since pip knows an older one of a checkout."""
    if package == "yolo-attn":
        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
