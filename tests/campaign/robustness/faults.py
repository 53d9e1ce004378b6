"""Inject a fault at any write to the disk: a full disk, or a killed process.

The work runs in a forked process that hooks its own file operations (Python's audit events: opening for writing, making
folders and links, renaming, removing), so writes by any library are covered.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

GROWS = {"open", "os.mkdir", "os.symlink", "os.link"}
CHANGES = GROWS | {"os.rename", "os.remove", "os.rmdir", "shutil.copyfile"}
FULL, KILLED = "disk full", "killed"
LIMIT_SECONDS = 180
EVERY = int(os.environ.get("YOLO_ATTN_EVERY_MOMENT", "0"))
"""1: try every moment; by default a few, spread evenly."""


def moments(work: Callable[[], object], root: Path, few: int) -> Iterator[int]:
    """Run the work once in a separate process, and yield the numbers of the write operations to stop it at."""
    code, said = stopped(work, root, at=-1, how=KILLED)
    assert code == 0, said
    count = int(said)
    assert count, "the work changes nothing under its folder"
    step = 1 if EVERY else max(1, count // few)
    yield from range(1, count + 1, step)


def stopped(work: Callable[[], object], root: Path, at: int, how: str) -> tuple[int, str]:
    """Run the work in a forked process that is stopped at a write operation; -1 for never.

    Returns:
        The exit code (0: done, 1: an error came out, negative: killed), and the number of moments, or the error.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _be_the_child(work, root, at, how, write)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def _be_the_child(work: Callable[[], object], root: Path, at: int, how: str, pipe: int) -> None:
    signal.alarm(LIMIT_SECONDS)
    count, inside = 0, False

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count, inside
        if inside or event not in CHANGES or not _concerns(root, event, arguments):
            return
        inside, count = True, count + 1
        if how == KILLED and count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        inside = False
        if how == FULL and 0 < at <= count and event in GROWS:
            raise OSError(errno.ENOSPC, "No space left on device")

    code, said = 0, ""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.addaudithook(watch)
        work()
        said = str(count)
    except BaseException as error:
        code, said = 1, f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}"
    os.write(pipe, said[:60_000].encode())
    os._exit(code)


def _concerns(root: Path, event: str, arguments: tuple) -> bool:
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return False
    paths = [os.path.abspath(os.fsdecode(a)) for a in arguments[:2] if isinstance(a, (str, bytes, os.PathLike))]
    return any(p.startswith(str(root)) for p in paths)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, without locks and hidden files of killed processes."""
    files = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".lock"}
    return {n.as_posix(): p.read_bytes() for n, p in files.items() if not any(part.startswith(".") for part in n.parts)}
