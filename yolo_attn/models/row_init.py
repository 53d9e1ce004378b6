"""Choose how the attention of a model dict starts, in place of what its rows state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_attn.blocks.base import AttentionBlock
from yolo_attn.errors import YoloAttnError
from yolo_attn.host.hyper import hyper_parameters
from yolo_attn.host.model import means_block, split_name, with_named_arguments
from yolo_attn.host.registry import resolve
from yolo_attn.host.wiring import rows_of
from yolo_attn.util.lists import as_list
from yolo_attn.util.words import check_init

GIVEN = "init"
"""Entry of a built model's dict: the start that was given for all its attention, in place of what the YAML states."""


@dataclass(frozen=True)
class ChosenInit:
    """A model dict whose attention starts in one way.

    Attributes:
        model: The model dict.
        init: ``paper`` or ``identity``.
        rows: The block of each row that starts so.
        changed: Those of these rows that started in the other way before.
        replaced: Those of the changed rows that stated so.
        without: The block of each row that has no such choice: a user's own.
    """

    model: dict[str, Any]
    init: str
    rows: Mapping[int, str]
    changed: tuple[int, ...]
    replaced: tuple[int, ...]
    without: Mapping[int, str]

    def __str__(self) -> str:
        starts = "as y = x" if self.init == "identity" else "as in their papers"
        said = [f"init={self.init}: {_named(self.rows)} start{'s' if len(self.rows) == 1 else ''} {starts}"]
        if self.replaced:
            said.append(f"this replaces the init that {_numbered(self.replaced)} states")
        if self.without:
            said.append(f"{_named(self.without)} has no init to choose")
        return "; ".join(said)


@dataclass(frozen=True)
class AttentionRow:
    """A row that is or holds a block.

    Attributes:
        index: Its number.
        name: Name of the block.
        args: Arguments of the row before those by name.
        hyper: Hyper-parameters of the block by name.
        init: How the block starts; ``None`` for a user's block, which has no such choice.
    """

    index: int
    name: str
    args: list[Any]
    hyper: dict[str, Any]
    init: str | None

    def arguments(self, init: str) -> list[Any]:
        """Return the row's arguments with another start of the block."""
        return [*self.args, {**self.hyper, "init": init}]


def attention_rows(rows: Sequence[Sequence[Any]]) -> Iterator[AttentionRow]:
    """Yield the rows that are or hold a block, in order."""
    for i, row in enumerate(rows):
        if block := _block_of(row[2]):
            name, cls = block
            args = as_list(row[3])
            hyper = dict(args.pop()) if args and isinstance(args[-1], Mapping) else {}
            default = hyper_parameters(cls)["init"].default if issubclass(cls, AttentionBlock) else None
            yield AttentionRow(i, name, args, hyper, default and hyper.get("init", default))


def with_init(model: Mapping[str, Any], init: str) -> ChosenInit:
    """Return a model dict in which every block that has the choice starts in one way.

    Args:
        model: A model dict that can be built.
        init: ``paper`` or ``identity``.

    Raises:
        YoloAttnError: If ``init`` is neither, or the model has no attention that could start so.
    """
    check_init(init)
    named = with_named_arguments(model)
    made = [list(row) for row in rows_of(named)]
    found = list(attention_rows(made))
    chosen = [row for row in found if row.init]
    without = {row.index: row.name for row in found if not row.init}
    if not chosen:
        has = f"{_named(without)} has no init to choose" if without else "this model has none"
        raise YoloAttnError(f"init={init} is for attention, and {has}")
    for row in chosen:
        made[row.index][3] = row.arguments(init)
    changed = [row for row in chosen if row.init != init]
    split = len(named["backbone"])
    return ChosenInit(
        model={**named, "backbone": made[:split], "head": made[split:]},
        init=init,
        rows={row.index: row.name for row in chosen},
        changed=tuple(row.index for row in changed),
        replaced=tuple(row.index for row in changed if "init" in row.hyper),
        without=without,
    )


def _block_of(module: str) -> tuple[str, type] | None:
    """Return name and class of the block that a row is or holds, if any."""
    if means_block(module):
        return resolve(module)
    try:
        parts = split_name(module)
    except YoloAttnError:
        return None
    return resolve(parts[1]) if parts else None


def _named(rows: Mapping[int, str]) -> str:
    return f"{_numbered(rows)} ({', '.join(dict.fromkeys(rows.values()))})"


def _numbered(rows: Iterable[int]) -> str:
    numbers = list(rows)
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
