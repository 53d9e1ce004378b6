"""Warn if an installed release of Ultralytics or torch is outside the tested range."""

from __future__ import annotations

import operator
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from yolo_attn.errors import YoloAttnError

if TYPE_CHECKING:
    from types import ModuleType

TESTED = {"ultralytics": ("8.3.0", "8.4.190"), "torch": ("2.1", "2.15")}
"""First and last release, by package; the first ones are also the lower bounds of the package's dependencies."""


NEEDED = ("parse_model", "yaml_model_load", "guess_model_scale", "BaseModel.load", "BaseModel.fuse", "LOGGER")
"""Names of ``ultralytics.nn.tasks`` that attention rows need."""


class UntestedVersionWarning(UserWarning):
    """A release is installed that this package was not tested with."""


def check_host(tasks: ModuleType) -> None:
    """Warn of untested releases, and refuse an Ultralytics that lacks a name attention rows need.

    Args:
        tasks: ``ultralytics.nn.tasks``.

    Raises:
        YoloAttnError: If something of ``NEEDED`` is missing.
    """
    host = sys.modules["ultralytics"].__version__
    warn_if_untested({"ultralytics": host, "torch": sys.modules["torch"].__version__})
    for name in NEEDED:
        try:
            operator.attrgetter(name)(tasks)
        except AttributeError:
            raise YoloAttnError(
                f"ultralytics {host} has no {tasks.__name__}.{name}, which attention rows need. "
                + install_command("ultralytics")
            ) from None


def warn_if_untested(installed: Mapping[str, str]) -> None:
    """Warn of each package whose installed release is outside the tested range.

    Args:
        installed: Releases by package, e.g. ``{"ultralytics": "8.4.190"}``.
    """
    for package, release in installed.items():
        if warning := untested_warning(package, release):
            warnings.warn(warning, UntestedVersionWarning, stacklevel=2)


def untested_warning(package: str, release: str) -> str:
    """Return a warning for a release outside the tested range, with a remedy; empty inside the range.

    Args:
        package: A key of ``TESTED``.
        release: Its release; compared as far as the bounds go, so that torch 2.15.1+cpu is a 2.15.

    Examples:
        >>> untested_warning("torch", "2.15.1+cpu")
        ''
        >>> untested_warning("ultralytics", "8.2.0")[:49]
        'ultralytics 8.2.0 is older than the releases that'
    """
    from packaging.version import InvalidVersion, Version

    first, last = TESTED[package]
    try:
        numbers = Version(release).release
    except InvalidVersion:
        return f"{package} reports release {release!r}, none of {_tested(package)}. {install_command(package)}"
    if numbers[: len(Version(first).release)] < Version(first).release:
        return f"{package} {release} is older than {_tested(package)}. {install_command(package)}"
    if numbers[: len(Version(last).release)] > Version(last).release:
        return (
            f"{package} {release} is newer than {_tested(package)}. It may well work: `python tools/canary.py` in a "
            f"checkout tries it. {install_command(package)}"
        )
    return ""


def _tested(package: str) -> str:
    first, last = TESTED[package]
    return f"the releases that yolo-attn was tested with, {first} to {last}"


def install_command(package: str) -> str:
    """Return the pip command that installs a tested release of a package."""
    first, last = TESTED[package]
    *major, minor = last.split(".")
    return f"To have one of those: pip install '{package}>={first},<{'.'.join([*major, str(int(minor) + 1)])}'"
