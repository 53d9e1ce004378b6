"""Fill torch.compile's cache in parallel processes, so that compilation in the measuring process is fast.

Each process compiles one block of one case after another. A compilation that fails or exceeds the time limit is left
out of the measurement with the reason; a compiler that hangs is killed with its process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from yolo_attn.bench.arms import Arms, add_compiled, make_inputs, make_module, why_too_large
from yolo_attn.bench.cases import Case
from yolo_attn.util.env import variables

NOT_IN_TIME = "compilation exceeded its time limit"
_FOLDER = "TORCHINDUCTOR_CACHE_DIR"


class Job(NamedTuple):
    """One implementation of one case."""

    case: Case
    implementation: str


class Outcome(NamedTuple):
    """Seconds of a compilation, the first run included, or the reason why it failed."""

    seconds: float | None
    why_not: str | None


@contextlib.contextmanager
def fresh_cache() -> Iterator[None]:
    """Use a temporary cache folder for torch.compile, and compile in a single process."""
    with tempfile.TemporaryDirectory(prefix="yolo-attn-bench-", ignore_cleanup_errors=True) as folder:
        settings = {_FOLDER: folder, "TORCHINDUCTOR_FX_GRAPH_CACHE": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        with variables(settings):
            yield


def compile_all(
    jobs: Sequence[Job], device: str, seconds: float, processes: int, log: Callable[[str], None] = lambda line: None
) -> Mapping[Job, Outcome]:
    """Compile all jobs in order and return the outcome of each; call within :func:`fresh_cache`.

    Autotuning results are deleted: they were measured while other processes used the device.

    Args:
        jobs: Implementations to compile.
        device: Torch device.
        seconds: Time limit for all jobs.
        processes: Number of parallel processes.
        log: Receives progress lines.
    """
    if not jobs:
        return {}
    log(f"compiling {len(jobs)} blocks, {processes} at a time")
    outcomes: dict[Job, Outcome] = {}
    ends = time.monotonic() + seconds
    threads = torch.get_num_threads()
    with multiprocessing.get_context("spawn").Pool(min(processes, len(jobs)), _start, (threads, device)) as pool:
        waiting = {job: pool.apply_async(_compile, (job, device)) for job in jobs}
        for job, result in waiting.items():
            try:
                outcomes[job] = result.get(timeout=max(ends - time.monotonic(), 0.001))
            except multiprocessing.TimeoutError:
                outcomes[job] = Outcome(None, NOT_IN_TIME)
        if all(result.ready() for result in waiting.values()):
            pool.close()  # otherwise leaving the block terminates the processes
            pool.join()
    for choice in Path(os.environ[_FOLDER]).rglob("*.best_config"):
        choice.unlink()
    done = sum(outcome.why_not is None for outcome in outcomes.values())
    log(f"compiled {done} of {len(jobs)} in {seconds - ends + time.monotonic():.0f} s")
    return outcomes


def _start(threads: int, device: str) -> None:
    torch.set_num_threads(threads)  # the generated code depends on it
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    with contextlib.suppress(Exception):  # the next compilation reports the reason
        torch.compile(torch.neg)(torch.zeros(8, device=device))  # warm-up: no job's compile time


def _compile(job: Job, device: str) -> Outcome:
    torch._dynamo.reset()
    arms = Arms(device)
    try:
        module = make_module(job.case, job.implementation, device)
        if module is None:
            return Outcome(None, f"there is no {job.implementation} of {job.case.block}")
        why_not = why_too_large(job.case, module, device)
        add_compiled(arms, "it", module, make_inputs(job.case, device, buffers=1), job.case, why_not)
    except Exception as error:  # reported; continue with the next job
        return Outcome(None, f"{type(error).__name__}: {error}")
    return Outcome(arms.first_call_s.get("it compiled"), arms.left_out.get("it compiled"))
