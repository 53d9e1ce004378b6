"""Carry out the runs of a comparison in processes on this machine or on a Ray cluster.

Each run is ``python -m yolo_attn.compare.run FOLDER`` in a process of its own, or a fork of a process that has imported
what it needs (:mod:`yolo_attn.compare.warm`), so runs do not affect each other and the same spec gives the same result
with every executor.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from yolo_attn.compare import run_folder
from yolo_attn.compare.warm import Warm
from yolo_attn.errors import YoloAttnError
from yolo_attn.util.processes import PARENT

TRIES = 3
"""Most attempts at a run whose process is killed; each resumes from the last epoch."""
_POLL_SECONDS = 0.2
_FIRST_GUESS_MB = 1500.0
_LOGS = {"PYTHONIOENCODING": "utf-8:backslashreplace"}
"""Environment of processes whose output is a log file: any text can be written to it."""
_NO_MEMORY = (
    "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "MemoryError", "an't allocate memory", "annot allocate memory",
    "not enough memory",
)  # fmt: skip

_RUN = "yolo_attn.compare.run"

Outcome = tuple[Path, str | None]
Tick = Callable[[Sequence[Path]], None]


class Executor(Protocol):
    """Carries out runs.

    Attributes:
        slots: Number of parallel runs.
        kind: Kind of device: ``cpu`` or ``cuda``.
        speed_device: Device to time models on: ``cpu`` or the number of a GPU; ``None`` for any.
    """

    slots: int
    kind: str
    speed_device: str | None

    def carry_out(self, folders: Sequence[Path], tick: Tick) -> Iterator[Outcome]:
        """Carry out runs, started in the given order.

        Args:
            folders: Folders of the runs, each with its spec.
            tick: Called regularly with the folders of the running runs.

        Yields:
            The folder of each run when it ends, with the reason if it failed, else ``None``.
        """


class Process(Protocol):
    """The part of :class:`subprocess.Popen` that an executor uses."""

    returncode: int | None

    def poll(self) -> int | None:
        """Return the exit code, or ``None`` if it still runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends and return the exit code."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


# --- one run ----------------------------------------------------------------------------------------------------------
def start(folder: Path, device: str | None = None, warm: Warm | None = None) -> Process:
    """Start a run in a process that sees one device only: ``cpu`` or the number of a GPU.

    Args:
        folder: The run's folder.
        device: What it sees; all by default.
        warm: Forks the run if it can.
    """
    forked = None if warm is None else warm.start(folder, _environment(device))
    return forked or _start_module(_RUN, folder, device)


def _environment(device: str | None) -> dict[str, str]:
    seen = {PARENT: str(os.getpid()), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # the order of nvidia-smi
    if device is not None:
        seen["CUDA_VISIBLE_DEVICES"] = "" if device == "cpu" else _visible(device)
    return {**os.environ, "PYTHONUNBUFFERED": "1", **_LOGS, **seen}


def _start_module(module: str, folder: Path, device: str | None) -> subprocess.Popen[bytes]:
    with (folder / run_folder.LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(device),
            start_new_session=True,  # Ctrl-C goes to the driver, which stops its runs
        )


def measure_speed(folder: Path, device: str | None) -> str | None:
    """Time models in a process of their own; return and store the reason of a failure or ``None``."""
    (folder / run_folder.FAILURE).unlink(missing_ok=True)
    process = _start_module("yolo_attn.speed.run", folder, device)
    try:
        return why_failed(folder, process.wait())
    finally:
        stop([process])


def why_failed(folder: Path, code: int) -> str | None:
    """Return and store why a run failed, from the exit code of its process; ``None`` if it succeeded."""
    if code == 0:
        return None
    reason = _reason(folder, code)
    run_folder.write_failure(folder, reason)
    return reason


def _reason(folder: Path, code: int) -> str:
    lines = (folder / run_folder.LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
    return f"{how}; {lines[-1].strip() if lines else 'no output'} (see {folder / run_folder.LOG})"


def run_to_end(folder: Path, device: str | None = None) -> str | None:
    """Carry out one run, again if it is killed; return the reason of a failure or ``None``."""
    for left in reversed(range(TRIES)):
        process = start(folder, device)
        try:
            code = process.wait()
        finally:
            stop([process])
        if code >= 0 or not left:
            return why_failed(folder, code)
    raise AssertionError("unreachable")


def stop(processes: Sequence[Process], seconds: float = 5.0) -> None:
    """Terminate running processes; kill those that take longer than ``seconds``."""
    alive = [p for p in processes if p.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + seconds
    for process in alive:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _visible(device: str) -> str:
    """Return the CUDA number of a GPU of this process, which may see only some of the GPUs."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",")[int(device)].strip() if seen else device


# --- this machine -----------------------------------------------------------------------------------------------------
class LocalPool:
    """Executor for the devices of this machine, with one or several parallel runs on each.

    A further run starts on a device only if its memory is expected to fit beside what the others are still to take: an
    estimate for each model, corrected by what the runs so far took. A run that finds no memory nevertheless is tried
    again alone. At most one run per CPU core is on its way to the first report of its memory.

    Args:
        devices: ``["cpu"]``, or numbers of GPUs.
        per_device: Most parallel runs on each device.
    """

    def __init__(self, devices: Sequence[str], per_device: int = 1) -> None:
        _check_number(per_device)
        self._most_starting = _cores()
        self._largest_mb = self._correction = 0.0
        self.devices, self.per_device = list(devices), per_device
        self.slots = len(self.devices) * per_device
        self.kind = "cpu" if self.devices == ["cpu"] else "cuda"
        self.speed_device: str | None = self.devices[0]

    def carry_out(self, folders: Sequence[Path], tick: Tick) -> Iterator[Outcome]:
        """Carry out runs; see :class:`Executor`."""
        warm = Warm(_RUN) if len(folders) > 1 else None  # nothing is saved for a single run
        waiting = deque(_Job(folder, warm) for folder in folders)
        running: list[_Job] = []
        try:
            while waiting or running:
                self._start_jobs(waiting, running)
                tick([job.folder for job in running])
                time.sleep(_POLL_SECONDS)
                for job in [j for j in running if j.process.poll() is not None]:
                    running.remove(job)
                    if job.should_retry():
                        waiting.appendleft(job)
                    else:
                        yield job.folder, why_failed(job.folder, job.process.wait())
        finally:
            stop([job.process for job in running])
            if warm is not None:
                warm.close()

    def _start_jobs(self, waiting: deque[_Job], running: list[_Job]) -> None:
        for device in sorted(self.devices, key=lambda d: sum(job.device == d for job in running)):
            beside = [job for job in running if job.device == device]
            if waiting and len(beside) < self.per_device and self._has_room(device, beside, waiting[0], running):
                job = waiting.popleft()
                job.begin(device)
                running.append(job)
                for one in (job, *beside):
                    one.shared |= bool(beside)

    def _has_room(self, device: str, beside: list[_Job], job: _Job, running: list[_Job]) -> bool:
        if not beside:
            return True
        if job.needs_all or any(other.needs_all for other in beside):
            return False
        starting = [other for other in running if other.peak_mb() is None]
        if len(starting) >= self._most_starting:
            return False
        self._learn(running)
        still_to_take = sum(self._expected_mb(other) for other in starting if other.device == device)
        return _free_mb(device) - still_to_take > self._expected_mb(job) * 1.1

    def _learn(self, running: list[_Job]) -> None:
        for job in running:
            if peak := job.peak_mb():
                self._largest_mb = max(self._largest_mb, peak)
                self._correction = max(self._correction, peak / (job.estimate_mb() or peak))

    def _expected_mb(self, job: _Job) -> float:
        """Return the memory that a run is expected to take: its estimate times the largest error of one so far."""
        if (estimate := job.estimate_mb()) is None:
            return max(_FIRST_GUESS_MB, self._largest_mb)
        return estimate * (self._correction or 1)


def _check_number(per_device: int) -> None:
    if per_device < 1:
        raise YoloAttnError(f"--per-gpu {per_device}: give a number of runs of at least 1")


class _Job:
    """A run of a local pool: its process, device and number of attempts."""

    def __init__(self, folder: Path, warm: Warm | None = None) -> None:
        self.folder, self._warm, self.tries, self.needs_all = folder, warm, 0, False

    def begin(self, device: str) -> None:
        from yolo_attn.compare.trainer import PROGRESS

        self.device, self.shared, self.tries = device, False, self.tries + 1
        # the memory that an earlier attempt reported is not in use yet
        (self.folder / run_folder.TRAINING / PROGRESS).unlink(missing_ok=True)
        self.process = start(self.folder, device, self._warm)

    def should_retry(self) -> bool:
        """Return whether the run was killed or ran out of memory while others ran; it is then retried alone."""
        code = self.process.wait()
        if code == 0 or self.tries >= TRIES:
            return False
        killed = code < 0
        if self.shared and not self.needs_all and (self._lacked_memory() or (killed and self.device == "cpu")):
            self.needs_all = True
            return True
        return killed

    def _lacked_memory(self) -> bool:
        log = (self.folder / run_folder.LOG).read_text(encoding="utf-8", errors="replace")[-4000:]
        return any(word in log for word in _NO_MEMORY)

    def estimate_mb(self) -> float | None:
        """Return an estimate of the memory it takes, in MB, or ``None`` where there is none."""
        from yolo_attn.compare.memory import estimate_mb

        try:
            return estimate_mb(run_folder.read_spec(self.folder))
        except (OSError, YoloAttnError):
            return None

    def peak_mb(self) -> float | None:
        """Return its peak memory so far, in MB, or ``None`` if it is not reported yet."""
        found: float | None = progress_of(self.folder).get("peak_reserved_mb")
        return found


def progress_of(folder: Path) -> dict[str, Any]:
    """Return the progress that a run last reported; empty before its first report, and where that is damaged."""
    from yolo_attn.compare.trainer import PROGRESS

    try:
        found = json.loads((folder / run_folder.TRAINING / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_mb(device: str) -> float:
    if device == "cpu":
        return psutil.virtual_memory().available / 2**20
    # without an answer (MIG, another vendor) there is no room: one run at a time on the device
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits", "-i", _visible(device)]
    try:
        return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0.0


# --- a cluster --------------------------------------------------------------------------------------------------------
class RayCluster:
    """Executor for a Ray cluster: the one at ``RAY_ADDRESS``, or one started on this machine.

    The comparison's folder and the data must be on storage that every node sees under the same path, and every node
    needs the same packages. Ray restarts a run whose worker dies; it resumes from its last epoch.

    Args:
        device: ``cpu``, or anything else for GPUs; by default GPUs if the cluster has any.
        per_device: Parallel runs on each GPU.
        threads: CPU cores of each run that trains on the CPU.
    """

    def __init__(self, device: str | int | None = None, per_device: int = 1, threads: int = 1) -> None:
        _check_number(per_device)
        try:
            import ray
        except ImportError:
            raise YoloAttnError("--executor ray needs Ray: pip install 'yolo-attn[ray]'") from None
        self.ray: Any = ray
        self.speed_device: str | None = None
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        resources = self.ray.cluster_resources()
        have = {"num_cpus": resources.get("CPU", 0), "num_gpus": resources.get("GPU", 0)}
        self.kind = "cpu" if device == "cpu" or (not device and device != 0 and not have["num_gpus"]) else "cuda"
        self.request = {"num_cpus": threads} if self.kind == "cpu" else {"num_cpus": 1, "num_gpus": 1 / per_device}
        self.slots = int(min(have[k] / n for k, n in self.request.items()))
        if not self.slots:
            raise YoloAttnError(f"the Ray cluster has {have}, a run needs {self.request}")

    def carry_out(self, folders: Sequence[Path], tick: Tick) -> Iterator[Outcome]:
        """Carry out runs; see :class:`Executor`."""
        task = self.ray.remote(max_retries=TRIES, **self.request)(_run_on_node)
        under_way = {task.remote(str(folder)): folder for folder in folders}
        try:
            while under_way:
                done, _ = self.ray.wait(list(under_way), timeout=_POLL_SECONDS)
                tick([f for f in under_way.values() if progress_of(f)])
                for reference in done:
                    yield under_way.pop(reference), self._outcome(reference)
        finally:
            for reference in under_way:
                self.ray.cancel(reference, force=True)

    def _outcome(self, reference: object) -> str | None:
        try:
            reason: str | None = self.ray.get(reference)
            return reason
        except self.ray.exceptions.RayError as error:
            return f"Ray: {' '.join(str(error).split())[:300]}"


def _run_on_node(folder: str) -> str | None:
    if not Path(folder, run_folder.SPEC).is_file():
        return f"node {os.uname().nodename} does not see '{folder}': put the comparison on storage that all nodes share"
    return run_to_end(Path(folder))
