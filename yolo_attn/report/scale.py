"""A linear scale with round ticks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear scale.

    Attributes:
        low: Its lower end.
        high: Its upper end.
        ticks: Round values on it.
        zero: Value of "no difference", or ``None``.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    zero: float | None = None

    def __call__(self, value: float) -> float:
        """Return where a value lies: 0 at the lower end, 1 at the upper."""
        return (value - self.low) / (self.high - self.low)

    def labels(self) -> list[str]:
        """Return the ticks as text, with the same decimals and a true minus sign."""
        steps = [b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)]
        decimals = next((d for d in range(7) if all(abs(round(s, d) - s) < 1e-9 for s in [*steps, *self.ticks])), 6)
        sign = "+" if self.zero == 0 else ""
        texts = [f"{tick:{sign}.{decimals}f}" if tick else "0" for tick in self.ticks]
        return [text.replace("-", "−") for text in texts]


def scale(values: Iterable[float | None], zero: float | None = None, ticks: int = 5, margin: float = 0.05) -> Scale:
    """Return a scale that holds all values.

    Args:
        values: Values to hold; ``None`` is left out.
        zero: Value of "no difference", which the scale holds too.
        ticks: Number of ticks at most.
        margin: Free part at either end.
    """
    from matplotlib.ticker import MaxNLocator

    held = [value for value in [*values, zero] if value is not None]
    low, high = min(held, default=0.0), max(held, default=1.0)
    free = margin * (high - low) or 0.01
    low, high = low - free, high + free
    found = MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10]).tick_values(low, high)
    return Scale(low, high, tuple(round(float(t), 9) for t in found if low <= t <= high), zero)
