"""Names that become files or folders: none of them may lead out of the place it is meant for."""

from __future__ import annotations

import re

from yolo_attn.errors import YoloAttnError, shorten

LONGEST_NAME = 200
_LEADS_AWAY = re.compile(r"[\x00-\x1f\x7f]|^/|^[A-Za-z]:/|(^|/)\.\.(/|$)")
_NOT_PLAIN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^\.|^ | $')


def plain_name(what: str, name: object) -> str:
    """Return a name that is to become a single folder or file, if it can be one on every system.

    Args:
        what: What is named, for the message.
        name: The name.

    Raises:
        YoloAttnError: If it is no text, is empty or too long, starts with a dot, or holds a separator or a character
            that some file system refuses.

    Examples:
        >>> plain_name("arm", "yolo11n-ela")
        'yolo11n-ela'
    """
    if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and not _NOT_PLAIN.search(name):
        return name
    raise YoloAttnError(
        f"{what} {shorten(name)} cannot name a folder: give up to {LONGEST_NAME} letters, digits or signs, none of "
        f'them / \\ : * ? " < > | and no dot in front'
    )


def stays_inside(path: str) -> bool:
    """Tell whether a path with ``/`` that someone else wrote stays in the folder it starts from.

    Examples:
        >>> stays_inside("val2017/1.jpg"), stays_inside("../1.jpg"), stays_inside("/etc/hostname")
        (True, False, False)
    """
    return bool(path) and not _LEADS_AWAY.search(path)
