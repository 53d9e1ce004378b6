"""Fill torch.compile's cache in several processes at a time, so that compiling in the one that measures is quick.

Each process compiles one block of one case after another. What fails, or is not done in time, is left out of the
measurement with the reason; a compiler that hangs hangs in a process that is ended.
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

NOT_IN_TIME = "compiling did not end in the time for it"
_FOLDER = "TORCHINDUCTOR_CACHE_DIR"


class Job(NamedTuple):
    """One implementation of one case."""

    case: Case
    implementation: str


class Outcome(NamedTuple):
    """How long compiling took, the first run included, or why it failed."""

    seconds: float | None
    why_not: str | None


@contextlib.contextmanager
def fresh_cache() -> Iterator[None]:
    """Let torch.compile keep its results in a folder of this measurement, and compile without helpers of its own."""
    with tempfile.TemporaryDirectory(prefix="yolo-attn-bench-", ignore_cleanup_errors=True) as folder:
        settings = {_FOLDER: folder, "TORCHINDUCTOR_FX_GRAPH_CACHE": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        with variables(settings):
            yield


def compile_all(
    jobs: Sequence[Job], device: str, seconds: float, processes: int, say: Callable[[str], None] = lambda line: None
) -> Mapping[Job, Outcome]:
    """Compile all jobs, in their order, and return what became of each; to be called within :func:`fresh_cache`.

    Which of a kernel's variants is fastest was found out here while other processes used the device too; that is
    forgotten, so that it is found out anew where the times are taken.

    Args:
        jobs: What to compile.
        device: Torch device.
        seconds: What is not done by then is given up.
        processes: How many at a time.
        say: Told the progress.
    """
    if not jobs:
        return {}
    say(f"compiling {len(jobs)} blocks, {processes} at a time")
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
            pool.close()  # else what is still at work is ended
            pool.join()
    for choice in Path(os.environ[_FOLDER]).rglob("*.best_config"):
        choice.unlink()
    done = sum(outcome.why_not is None for outcome in outcomes.values())
    say(f"compiled {done} of {len(jobs)} in {seconds - ends + time.monotonic():.0f} s")
    return outcomes


def _start(threads: int, device: str) -> None:
    torch.set_num_threads(threads)  # generated code depends on it
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    with contextlib.suppress(Exception):  # whoever compiles next will say why
        torch.compile(torch.neg)(torch.zeros(8, device=device))  # the compiler's own start is nobody's compile time


def _compile(job: Job, device: str) -> Outcome:
    torch._dynamo.reset()
    arms = Arms(device)
    try:
        module = make_module(job.case, job.implementation, device)
        why_not = why_too_large(job.case, module, device)
        add_compiled(arms, "it", module, make_inputs(job.case, device, buffers=1), job.case, why_not)
    except Exception as error:  # it is said why, and the next one is tried
        return Outcome(None, f"{type(error).__name__}: {error}")
    return Outcome(arms.first_call_s.get("it compiled"), arms.left_out.get("it compiled"))
