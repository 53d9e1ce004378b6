"""Time several functions in interleaved rounds, so that drift of the machine affects all of them alike."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

Function = Callable[[], object]
Stopwatch = Callable[[Function, int], float]
"""Calls a function a given number of times and returns the total time, in milliseconds."""


def interleaved(
    functions: Mapping[str, Function],
    rounds: int = 100,
    at_least: int = 20,
    seconds: float = math.inf,
    lasting_ms: float = 0.0,
    warmup_rounds: int = 3,
    warmup_seconds: float = 0.0,
    synchronize: Function = lambda: None,
    seed: int = 0,
    stopwatch: Stopwatch | None = None,
) -> Iterator[dict[str, float]]:
    """Call every function once per round, in a new random order each round, and yield the times of each round.

    Slowdowns of the machine that last longer than a round cancel in the ratio of two times of one round. The random
    order distributes the effects of one function on the next (caches, clocks, memory) over all functions.

    Args:
        functions: Functions to time, by name.
        rounds: Largest number of rounds.
        at_least: Smallest number of rounds, regardless of ``seconds``; at most ``rounds``.
        seconds: Time limit, in seconds; no round after the first ``at_least`` starts later.
        lasting_ms: A function faster than this is called several times in a row, all functions equally often.
        warmup_rounds: Smallest number of untimed rounds at the start.
        warmup_seconds: Smallest duration of these rounds, in seconds.
        synchronize: Waits for the device; called before and after each timing, e.g. ``torch.cuda.synchronize``.
        seed: Seed of the orders.
        stopwatch: Measures the time, e.g. :func:`cuda_events`; by default the wall clock with ``synchronize``.

    Yields:
        Milliseconds per call by name, in the order in which they were taken.
    """
    orders = random.Random(seed)
    stopwatch = stopwatch or wall_clock(synchronize)
    warm: list[dict[str, float]] = []
    began = time.perf_counter()
    while len(warm) < warmup_rounds or time.perf_counter() - began < warmup_seconds:
        warm.append(_round(functions, orders, 1, stopwatch))
    calls = _calls(warm, lasting_ms)
    began = time.perf_counter()
    for done in itertools.count():
        if done >= rounds or (done >= at_least and time.perf_counter() - began >= seconds):
            return
        yield _round(functions, orders, calls, stopwatch)


def wall_clock(synchronize: Function = lambda: None) -> Stopwatch:
    """Return a stopwatch that measures wall-clock time and synchronizes the device before and after."""

    def measure(function: Function, calls: int) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            function()
        synchronize()
        return (time.perf_counter() - start) * 1e3

    return measure


def cuda_events(device: str) -> Stopwatch:
    """Return a stopwatch that measures time by CUDA events on the current stream of a device.

    It measures from the first kernel to the last, including gaps between kernels but not the launch latency of the
    first.
    """
    import torch

    def measure(function: Function, calls: int) -> float:
        stream = torch.cuda.current_stream(device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        stream.synchronize()
        start.record(stream)
        for _ in range(calls):
            function()
        end.record(stream)
        end.synchronize()
        return float(start.elapsed_time(end))

    return measure


def _round(
    functions: Mapping[str, Function], orders: random.Random, calls: int, stopwatch: Stopwatch
) -> dict[str, float]:
    order = orders.sample(list(functions), len(functions))
    return {name: stopwatch(functions[name], calls) / calls for name in order}


def _calls(warm: list[dict[str, float]], lasting_ms: float) -> int:
    """Return the number of calls per timing that makes the fastest function last ``lasting_ms``."""
    if not warm or not lasting_ms:
        return 1
    fastest = min(statistics.median(times[name] for times in warm) for name in warm[0])
    return max(1, math.ceil(lasting_ms / fastest))
