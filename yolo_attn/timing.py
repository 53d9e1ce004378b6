"""Time several functions against each other, so that a drift of the machine falls on all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 30,
    warmup: int = 3,
    synchronize: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Call every function once a round, in turn, and return each one's times in milliseconds, round by round.

    Args:
        functions: What to time, by name.
        rounds: How often each is timed.
        warmup: Rounds before the first that counts.
        synchronize: Waits for the device; called before and after each function, e.g. ``torch.cuda.synchronize``.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(-warmup, rounds):
        for name, function in functions.items():
            synchronize()
            start = time.perf_counter()
            function()
            synchronize()
            if turn >= 0:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times
