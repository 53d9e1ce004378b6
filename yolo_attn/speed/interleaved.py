"""Time several functions against each other, so that a drift of the machine falls on all of them alike."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

Function = Callable[[], object]
Stopwatch = Callable[[Function, int], float]
"""Calls a function so many times and returns how long all of them took, in milliseconds."""


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
    """Call every function once a round, in an order shuffled anew each round, and yield the times round by round.

    What slows the machine down for longer than a round then cancels in the ratio of two times of one round, and what a
    function leaves behind for the one that follows it (caches, clocks, memory) falls on each of them by chance.

    Args:
        functions: What to time, by name.
        rounds: How many rounds at most.
        at_least: How many rounds at least, where ``rounds`` allows, no matter how long they take.
        seconds: No round begins later than this after the first, beyond those of ``at_least``.
        lasting_ms: A function faster than this is called several times in a row; all functions equally often.
        warmup_rounds: Rounds, at least, before the first that counts.
        warmup_seconds: Duration, at least, of these rounds.
        synchronize: Waits for the device; called before and after each timing, e.g. ``torch.cuda.synchronize``.
        seed: Seed of the orders.
        stopwatch: What takes the times, e.g. :func:`cuda_events`; the wall clock by default, with ``synchronize``.

    Yields:
        Milliseconds per call by name, in the order in which they were taken.
    """
    orders = random.Random(seed)
    stopwatch = stopwatch or wall_clock(synchronize)
    warm = []
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
    """Return a stopwatch that reads the clock on the wall, with the device waited for before and after."""

    def measure(function: Function, calls: int) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            function()
        synchronize()
        return (time.perf_counter() - start) * 1e3

    return measure


def cuda_events(device: str) -> Stopwatch:
    """Return a stopwatch of a CUDA device's own events, on its current stream.

    It measures from the first kernel to the last, the gaps in which the device waits for the next launch included, and
    not the waiting of the host.
    """
    import torch

    def measure(function: Function, calls: int) -> float:
        stream = torch.cuda.current_stream(device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        stream.synchronize()
        start.record(stream)
        for _ in range(calls):
            function()
        end.record(stream)
        end.synchronize()
        return start.elapsed_time(end)

    return measure


def _round(
    functions: Mapping[str, Function], orders: random.Random, calls: int, stopwatch: Stopwatch
) -> dict[str, float]:
    order = orders.sample(list(functions), len(functions))
    return {name: stopwatch(functions[name], calls) / calls for name in order}


def _calls(warm: list[dict[str, float]], lasting_ms: float) -> int:
    """Return how often to call each function so that the fastest lasts long enough."""
    if not warm or not lasting_ms:
        return 1
    fastest = min(statistics.median(times[name] for times in warm) for name in warm[0])
    return max(1, math.ceil(lasting_ms / fastest))
