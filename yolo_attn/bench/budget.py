"""A total time that is kept: nothing begins that would end too late."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator


class Budget:
    """Seconds that may be spent, and what things of a kind took so far.

    Args:
        seconds: All there is; ``math.inf`` for no limit.
        clock: Seconds.
    """

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._ends = clock() + seconds
        self._taken: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self._ends - self._clock(), 0.0)

    def allows(self, kind: str, expected: float) -> bool:
        """Tell whether one more of a kind will end in time, if it takes as long as the longest of its kind so far.

        Args:
            kind: What takes about as long, one as the other.
            expected: Seconds that one takes before any of its kind was seen.
        """
        return self.left > self._taken.get(kind, expected)

    @contextlib.contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Note how long something of a kind takes."""
        began = self._clock()
        yield
        self._taken[kind] = max(self._taken.get(kind, 0.0), self._clock() - began)
