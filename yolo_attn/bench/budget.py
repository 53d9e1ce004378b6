"""Time budget of a measurement: a step starts only if it is expected to end in time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator


class Budget:
    """Remaining seconds, and the longest duration so far of each kind of step.

    Args:
        seconds: Total; ``math.inf`` for no limit.
        clock: Returns the time in seconds.
    """

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._ends = clock() + seconds
        self._taken: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Remaining seconds, at least 0."""
        return max(self._ends - self._clock(), 0.0)

    def allows(self, kind: str, expected: float) -> bool:
        """Return whether a step will end in time if it takes as long as the longest of its kind so far.

        Args:
            kind: Steps of one kind take about equally long.
            expected: Seconds of the first step of its kind.
        """
        return self.left > self._taken.get(kind, expected)

    @contextlib.contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Record the duration of a step."""
        began = self._clock()
        yield
        self._taken[kind] = max(self._taken.get(kind, 0.0), self._clock() - began)
