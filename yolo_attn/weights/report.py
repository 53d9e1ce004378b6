"""Report of a transfer of weights, by layer and in one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RowReport:
    """Transfer into one layer of the target.

    Attributes:
        row: Number of the layer in the target.
        source: Number of the corresponding layer in the source; ``None`` if there is none.
        name: Class of the layer.
        attention: Whether the layer is a registered attention block.
        parameters: Number of parameters of the layer.
        loaded: How many of them came from the source.
        tensors: Number of parameter and buffer tensors, without those of blocks inside the layer.
        loaded_tensors: How many of them came from the source.
        left: Tensors that were not loaded although the layer has a source, each with the reason.
        inside: Number of parameters of blocks inside the layer, not counted above.
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
        """``loaded``, ``partly``, ``new`` (no source) or ``missing`` (nothing of its source fits)."""
        if self.loaded_tensors == self.tensors:
            return "loaded"
        if self.loaded_tensors:
            return "partly"
        return "new" if self.source is None else "missing"

    @property
    def reason(self) -> str:
        """First tensor that was not loaded with the reason, and the number of further ones."""
        more = f" and {len(self.left) - 1} more" if len(self.left) > 1 else ""
        return next((f"{name}: {why}" for name, why in self.left.items()), "") + more

    def __str__(self) -> str:
        came_from = "-" if self.source is None else self.source
        line = f"{self.row:>4} {came_from:>5}  {self.name:<16}{self.loaded:>10}/{self.parameters:<10} {self.status}"
        inside = f", inside {self.inside_loaded}/{self.inside}" if self.inside else ""
        return line + inside + (f" ({self.reason})" if self.left else "")


@dataclass(frozen=True)
class TransferReport:
    """Result of a transfer of weights, by layer of the target.

    Attributes:
        rows: One report per layer of the target.
        dropped: Layers of the source, and blocks inside them, whose parameters are not used.
        dropped_base: Those of them that are no attention.
        source: Name of the source.
        changing: Rows of blocks that are not from the source and do not return their input.
    """

    rows: tuple[RowReport, ...]
    dropped: tuple[str, ...]
    dropped_base: tuple[str, ...]
    source: str
    changing: tuple[int, ...] = ()

    @property
    def loaded(self) -> list[RowReport]:
        """Layers of which all tensors were loaded."""
        return [r for r in self.rows if r.status == "loaded" and r.tensors]

    @property
    def new(self) -> list[RowReport]:
        """Layers without a counterpart in the source; they keep their initial values."""
        return [r for r in self.rows if r.status == "new" and r.tensors]

    @property
    def missing(self) -> list[RowReport]:
        """Layers with a counterpart of which some tensors were not loaded."""
        return [r for r in self.rows if r.status in ("partly", "missing")]

    @property
    def unexpected(self) -> list[RowReport]:
        """Layers that lack weights they should have: those missing, and new ones that are no attention."""
        return [*self.missing, *(r for r in self.new if not r.attention)]

    @property
    def has_attention(self) -> bool:
        """Whether one of the two models has attention."""
        return any(r.attention or r.inside for r in self.rows) or len(self.dropped) > len(self.dropped_base)

    @property
    def attention_is_new(self) -> bool:
        """Whether no attention of the target came from the source."""
        return all(r.source is None if r.attention else not r.inside_loaded for r in self.rows)

    @property
    def attention_rows_of_source(self) -> set[int]:
        """Rows of the source whose attention, or a part of it, was loaded."""
        came = (r for r in self.rows if (r.loaded_tensors if r.attention else r.inside_loaded))
        return {r.source for r in came if r.source is not None}

    @property
    def same_rows(self) -> bool:
        """Whether both models have the same layers, attention included."""
        return not self.dropped and all(r.source == r.row and r.inside == r.inside_loaded for r in self.rows)

    def log(self, by_row: bool) -> None:
        """Log to Ultralytics' log, layer by layer or in one line."""
        logging.getLogger("ultralytics").info(str(self) if by_row else self.summary())

    def summary(self) -> str:
        """Return the numbers of layers, parameters and tensors transferred, in one line."""
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
        if self.changing:
            parts.append(describe_changing(self.changing))
        if self.missing:
            parts.append(f"not fully: row {', '.join(str(r.row) for r in self.missing)} ({self.missing[0].reason})")
        if self.dropped:
            parts.append(f"dropped from the source: {', '.join(self.dropped)}")
        return "; ".join(parts)

    def __str__(self) -> str:
        head = f"{'row':>4} {'from':>5}  {'module':<16}{'loaded':>10}/{'parameters':<10} status"
        return "\n".join([head, *map(str, self.rows), self.summary()])


def describe_changing(rows: Sequence[int]) -> str:
    """Return a sentence on rows of new blocks that do not return their input, and on how they would."""
    return (
        f"the new blocks of row {', '.join(map(str, rows))} change what the weights have learned until they are "
        "trained; with init=identity, here or in the YAML, they start as y = x"
    )
