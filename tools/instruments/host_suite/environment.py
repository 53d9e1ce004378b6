"""The environment of the host's tests: the running one, and packages that only they and the clients need."""

from __future__ import annotations

from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

from instruments.contract.releases import environment_with

CLIENTS = ("supervision", "sahi")
TESTED = ("MNN", "aiohttp", "albumentations", "mlflow", "streamlit")
"""What the host's tests use beyond what exports need."""


def environment(work: Path) -> Path:
    """Return the interpreter of the environment; create it in the work folder if needed.

    Raises:
        YoloAttnError: If packages cannot be installed.
    """
    return environment_with([*exports(), *TESTED, *CLIENTS], work / "environments")


def exports() -> list[str]:
    """Return the requirements of this package's extra ``export``."""
    found = [Requirement(line) for line in requires("yolo-attn") or ()]
    chosen = [r for r in found if r.marker and r.marker.evaluate({"extra": "export"})]
    return [f"{r.name}{r.specifier}" for r in chosen if not r.marker.evaluate({"extra": ""})]
