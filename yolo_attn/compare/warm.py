"""Start runs as forks of one process that has imported what they need: ``python -m yolo_attn.compare.warm MODULE``.

The process imports the module, calls its ``prepare``, and forks a process for each run, which calls ``main`` with the
folder of the run. Nothing but imports is shared: a run has its own session, environment and log, imports the user's
files itself, and begins CUDA itself. A run becomes a fresh process where a fork would not be safe, because an import
began CUDA or a thread. ``YOLO_ATTN_WARM=0`` starts every run afresh.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from yolo_attn.compare.run_folder import LOG
from yolo_attn.util import imports, processes

SWITCH = "YOLO_ATTN_WARM"
"""Environment variable that is ``0`` to start every run in a fresh process."""
_POLL_SECONDS = 0.05


def is_wanted() -> bool:
    """Return whether runs may be forked: on Linux, unless the environment forbids it."""
    return sys.platform == "linux" and os.environ.get(SWITCH) != "0"


# --- the process that starts runs -------------------------------------------------------------------------------------
class Warm:
    """A process with a module imported, which forks runs; it is started with the first run.

    Args:
        module: Name of a module with ``prepare()``, which imports what all runs use, and ``main(folder)``.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = not is_wanted()

    def start(self, folder: Path, env: Mapping[str, str]) -> ForkedRun | None:
        """Start a run; return ``None`` if that is impossible here, or the process has died."""
        with contextlib.suppress(OSError):
            if self._process is None and not self._closed:
                self._begin(env)
            if pid := self.ask(start=str(folder), env=dict(env)):
                return ForkedRun(self, int(pid))
        return None

    def _begin(self, env: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._lines, words = ours.makefile("rw", encoding="utf-8"), [sys.executable, "-m", __name__, self.module]
        ours.close()  # the file keeps it open
        without_files = {key: value for key, value in env.items() if key != imports.VARIABLE}
        with theirs:
            self._process = subprocess.Popen(
                words,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,  # a failing import is shown by the run, which then starts afresh
                stderr=subprocess.DEVNULL,
                env=without_files,
                start_new_session=True,
            )

    def ask(self, **request: Any) -> Any:
        """Return the answer to a request.

        Raises:
            ConnectionError: If the process has died.
        """
        if self._closed:
            raise ConnectionError(f"{__name__} does not run")
        try:
            self._lines.write(json.dumps(request) + "\n")
            self._lines.flush()
            if line := self._lines.readline():
                return json.loads(line)
            raise ConnectionError(f"{__name__} has died")
        except BaseException:  # after Ctrl-C too: the answer would be taken for that to the next request
            self.close()
            raise

    def close(self) -> None:
        """End the process, which terminates its runs."""
        if self._process is not None and not self._closed:
            with contextlib.suppress(OSError):  # what was not sent
                self._lines.close()
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:  # it still imports, or the machine is busy
                for run in psutil.Process(self._process.pid).children():
                    run.kill()
                self._process.kill()
                self._process.wait()
        self._closed = True


class ForkedRun:
    """A run that was forked, to be used as :class:`subprocess.Popen`.

    If the process that forked it dies, the run is killed: it resumes when it is started again.

    Attributes:
        pid: Its process id.
        returncode: Its exit code, negative for the signal that ended it; ``None`` as long as it runs.
    """

    def __init__(self, warm: Warm, pid: int) -> None:
        self._warm, self.pid = warm, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or ``None`` if it still runs."""
        if self.returncode is None:
            try:
                self.returncode = self._warm.ask(poll=self.pid)
            except OSError:
                self.kill()
                self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends and return the exit code.

        Raises:
            subprocess.TimeoutExpired: If it still runs after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["run", str(self.pid)], timeout or 0)
            time.sleep(_POLL_SECONDS)
        return code

    def terminate(self) -> None:
        """Send it SIGTERM, if it still runs."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL, if it still runs."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


# --- within that process ----------------------------------------------------------------------------------------------
def main() -> None:
    """Prepare a module and fork runs until the socket closes."""
    module = importlib.import_module(sys.argv[1])
    module.prepare()
    gc.freeze()  # the forks share these objects as long as nobody touches them
    request = _serve(socket.socket(fileno=os.dup(0)))
    if request is not None:
        folder = Path(request["start"])
        _settle(folder, request["env"])
        if _must_be_fresh():
            os.execv(sys.executable, [sys.executable, "-m", sys.argv[1], str(folder)])
        processes.note_fork()
        imports.import_entries()
        module.main(folder)


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Answer requests until the connection ends; return the request in the process of a run, else ``None``."""
    own, runs = os.getpid(), set[int]()
    with connection, connection.makefile("rw", encoding="utf-8") as lines:
        for line in lines:
            request: dict[str, Any] = json.loads(line)
            answer = None
            if "start" in request:
                request["env"][processes.PARENT] = str(own)
                with contextlib.suppress(OSError):  # no more processes are allowed
                    if not (answer := os.fork()):
                        return request
                    runs.add(answer)
            elif (answer := _exit_code(request["poll"])) is not None:
                runs.discard(request["poll"])
            lines.write(json.dumps(answer) + "\n")
            lines.flush()
    for pid in runs:  # who asked has gone, or no longer wants them
        os.kill(pid, signal.SIGTERM)
    return None


def _exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _settle(folder: Path, env: Mapping[str, str]) -> None:
    """Give this process the session, environment and streams of a run."""
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    with (folder / LOG).open("ab") as log, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _must_be_fresh() -> bool:
    """Return whether the process that was forked had begun CUDA or a thread, of which a fork has a broken copy."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda._is_in_bad_fork():
        return True
    try:
        return len(os.listdir(f"/proc/{os.getppid()}/task")) > 1
    except OSError:  # unknown
        return True


if __name__ == "__main__":
    main()
