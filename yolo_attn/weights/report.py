"""What a transfer of weights did, row by row and in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RowReport:
    """What one row of the target received.

    Attributes:
        row: Row number in the target.
        source: Row number in the source, or ``None`` where no row corresponds.
        name: Class of the row's module.
        attention: Whether the row is a registered attention block.
        parameters: Parameters of the row.
        loaded: How many of them came from the source.
        tensors: Parameters and buffers of the row, counted as tensors, those of blocks inside it left out.
        loaded_tensors: How many of them came from the source.
        left: Tensors that did not come over although the row has a source, each with the reason.
        inside: Parameters of blocks inside the row, which are not counted above.
        inside_loaded: How many of them came from the source.
    """

    row: int
    source: int | None
    name: str
    attention: bool
    parameters: int
    loaded: int
    tensors: int
    loaded_tensors: int
    left: Mapping[str, str] = field(default_factory=dict)
    inside: int = 0
    inside_loaded: int = 0

    @property
    def status(self) -> str:
        """``loaded``, ``partly``, ``new`` (nothing to load from) or ``missing`` (it had a source, nothing fitted)."""
        if self.loaded_tensors == self.tensors:
            return "loaded"
        if self.loaded_tensors:
            return "partly"
        return "new" if self.source is None else "missing"

    @property
    def reason(self) -> str:
        """The first tensor that did not come over and why, and how many more there are."""
        more = f" and {len(self.left) - 1} more" if len(self.left) > 1 else ""
        return next((f"{name}: {why}" for name, why in self.left.items()), "") + more

    def __str__(self) -> str:
        came_from = "-" if self.source is None else self.source
        line = f"{self.row:>4} {came_from:>5}  {self.name:<16}{self.loaded:>10}/{self.parameters:<10} {self.status}"
        inside = f", inside {self.inside_loaded}/{self.inside}" if self.inside else ""
        return line + inside + (f" ({self.reason})" if self.left else "")


@dataclass(frozen=True)
class TransferReport:
    """What a transfer did, by row of the target.

    Attributes:
        rows: One report per row of the target.
        dropped: Rows of the source, and blocks inside them, whose parameters nothing in the target takes.
        dropped_base: Those among them that are no attention.
        source: What the weights came from, as text.
    """

    rows: tuple[RowReport, ...]
    dropped: tuple[str, ...]
    dropped_base: tuple[str, ...]
    source: str

    @property
    def loaded(self) -> list[RowReport]:
        """Rows that got all of their tensors."""
        return [r for r in self.rows if r.status == "loaded" and r.tensors]

    @property
    def new(self) -> list[RowReport]:
        """Rows that have no counterpart in the source and keep their initial values."""
        return [r for r in self.rows if r.status == "new" and r.tensors]

    @property
    def missing(self) -> list[RowReport]:
        """Rows that have a counterpart, of which not every tensor could come over."""
        return [r for r in self.rows if r.status in ("partly", "missing")]

    @property
    def unexpected(self) -> list[RowReport]:
        """Rows that did not get what they should have: those missing, and new ones that are no attention."""
        return [*self.missing, *(r for r in self.new if not r.attention)]

    def summary(self) -> str:
        """Say in one line how many rows, parameters and tensors came over."""
        base = [r for r in self.rows if not r.attention and r.tensors]
        attention = [r for r in self.rows if r.attention]
        parts = [
            f"{self.source}: {sum(r.status == 'loaded' for r in base)} of {len(base)} base rows, "
            f"{sum(r.loaded for r in base):,} of {sum(r.parameters for r in base):,} parameters, "
            f"{sum(r.loaded_tensors for r in base)} of {sum(r.tensors for r in base)} tensors transferred"
        ]
        if fresh := [r for r in attention if r.status == "new"]:
            parts.append(f"{len(fresh)} new attention rows with {sum(r.parameters for r in fresh):,} parameters")
        if kept := [r for r in attention if r.status == "loaded"]:
            parts.append(f"{len(kept)} attention rows transferred")
        if inside := [r for r in self.rows if r.inside]:
            parts.append(
                f"blocks inside {len(inside)} rows with {sum(r.inside for r in inside):,} parameters, "
                f"{sum(r.inside_loaded for r in inside):,} of them transferred"
            )
        if self.missing:
            parts.append(f"not fully: row {', '.join(str(r.row) for r in self.missing)} ({self.missing[0].reason})")
        if self.dropped:
            parts.append(f"dropped from the source: {', '.join(self.dropped)}")
        return "; ".join(parts)

    def __str__(self) -> str:
        head = f"{'row':>4} {'from':>5}  {'module':<16}{'loaded':>10}/{'parameters':<10} status"
        return "\n".join([head, *map(str, self.rows), self.summary()])
