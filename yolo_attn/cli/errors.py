"""Tell a user's mistake from a defect, and put it into one line."""

from __future__ import annotations

import errno
import os
import re

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.explain import modules_of

_HOST_SAYS = ("Dataset '", "Invalid ", "No valid images found", "final batch=")
_HOST_PHRASES = (
    "not a loadable checkpoint",
    "is not a supported model format",
    "No labels found in",
    "dataset requires equal numbers of boxes",  # segments, for labels of boxes
)
_HOST_CHECKS = ("ultralytics.cfg", "ultralytics.utils.checks", "ultralytics.data.utils", "ultralytics.data.build")
_HOST_READS = ("ultralytics.cfg", "ultralytics.utils")  # where it has not got beyond the words it was given
_HOST_EXPORTS = (
    "ultralytics.engine.exporter",
    "ultralytics.utils.export",
)  # modules that raise for unsupported formats
_WRONG_FILES = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
_NETWORK = ("socket", "urllib.error", "requests.exceptions")


def is_user_error(error: Exception) -> bool:
    """Tell whether an error is a user's mistake: by its type, or raised where Ultralytics checks its arguments."""
    if os.environ.get("YOLO_ATTN_DEBUG"):
        return False
    if isinstance(error, (YoloAttnError, *_WRONG_FILES)):
        return True
    if isinstance(error, OSError) and (error.errno in (errno.ENOSPC, errno.EDQUOT) or _is_network_error(error)):
        return True
    modules = modules_of(error)
    host = [m for m in modules if m.startswith("ultralytics.")]
    checked = modules[-1].startswith(_HOST_CHECKS) or (bool(host) and all(m.startswith(_HOST_READS) for m in host))
    checked |= modules[-1].startswith(_HOST_EXPORTS) and isinstance(error, (AssertionError, ValueError))
    checked |= _is_missing_package(error, modules[-1])
    text = str(error)
    return checked or text.startswith(_HOST_SAYS) or any(phrase in text for phrase in _HOST_PHRASES)


def one_line(error: Exception) -> str:
    """Return what an error says as one line, without colours."""
    if isinstance(error, ModuleNotFoundError) and not isinstance(error, YoloAttnError):
        return f"{error.name} is not installed, and Ultralytics could not install it: pip install {error.name}"
    text = re.sub(r"\x1b\[[0-9;]*m|^ERROR \W+", "", str(error)).strip()
    text = text if isinstance(error, YoloAttnError) else text.split("\n")[0]
    return " ".join(text.split()) or type(error).__name__


def _is_missing_package(error: Exception, importing: str) -> bool:
    """Tell whether Ultralytics needs a package that is not installed, and that it could not install."""
    package = str(getattr(error, "name", "")).partition(".")[0]
    of_the_host = importing.startswith("ultralytics.") and package not in ("ultralytics", "yolo_attn")
    return isinstance(error, ModuleNotFoundError) and of_the_host


def _is_network_error(error: OSError) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__ in _NETWORK
