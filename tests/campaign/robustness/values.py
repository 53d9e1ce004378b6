"""Random valid and invalid values: for a block's hyper-parameters by annotation, and of any type."""

from __future__ import annotations

import types
import typing
from typing import Any

from hypothesis import strategies as st

from yolo_attn.host.hyper import hyper_parameters
from yolo_attn.host.registry import CONTROLS, SHIPPED_ALIASES, resolve

BLOCKS = [*SHIPPED_ALIASES, *(alias for aliases in SHIPPED_ALIASES.values() for alias in aliases), *CONTROLS]
PARSER_WORDS = ["nc", "ch", "f", "n", "m", "i", "d", "args", "layers", "scale", "None", "True", "1e3", "[1, 2]"]
NUMBERS = [0, -1, 1, 2, 3, 7, 8, 16, 64, 1000, 10**18, -(10**18), 1e-300, 1e300, 0.5, 2.0]

words = st.one_of(st.sampled_from(PARSER_WORDS), st.text(max_size=8))
scalars = st.one_of(st.sampled_from(NUMBERS), st.none(), st.booleans(), st.floats(), words)
junk = st.one_of(
    scalars, st.lists(scalars, max_size=3), st.dictionaries(st.one_of(words, st.integers(0, 3)), scalars, max_size=2)
)


def mostly(right: st.SearchStrategy, wrong: st.SearchStrategy, of: int = 10) -> st.SearchStrategy:
    """Draw a valid value, and one time in ``of`` an invalid one."""
    return st.integers(0, of - 1).flatmap(lambda k: wrong if k == of - 1 else right)


def misspelled(names: list[str]) -> st.SearchStrategy:
    """Draw a name with one letter removed, added or changed."""

    def spoil(name: str, at: int, how: int, letter: str) -> str:
        at %= len(name)
        return name[:at] + ("" if how == 0 else letter) + name[at + (how != 1) :]

    letters = st.sampled_from("aA_@. 0é/")
    return st.builds(spoil, st.sampled_from(names), st.integers(0, 20), st.integers(0, 2), letters)


block_names = mostly(st.sampled_from(BLOCKS), st.one_of(misspelled(BLOCKS), words), of=30)


def hyper_values(name: str) -> st.SearchStrategy:
    """Draw hyper-parameters of a block by name, now and then with an invalid value or name."""
    try:
        cls = resolve(name)[1]
    except ValueError:
        return st.dictionaries(words, scalars, max_size=2)
    hints = typing.get_type_hints(cls.__init__)
    right = {p: mostly(_of_type(hints.get(p, Any)), junk, of=40) for p in hyper_parameters(cls)}
    return mostly(st.fixed_dictionaries({}, optional=right), st.dictionaries(words, junk, max_size=2), of=40)


def _of_type(hint: Any) -> st.SearchStrategy:
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return st.one_of(*map(_of_type, typing.get_args(hint)))
    if hint is type(None):
        return st.none()
    if hint is bool:
        return st.booleans()
    return st.sampled_from([1, 2, 3, 4, 5, 8, 16])


@st.composite
def row_arguments(draw: st.DrawFn, name: str) -> Any:
    """Draw a row's arguments: hyper-parameters by name, by position, or invalid ones."""
    by_name = draw(hyper_values(name))
    form = draw(st.integers(0, 20))
    if form < 12 or not isinstance(by_name, dict):
        return [by_name] if by_name else []
    if form < 18:
        return list(by_name.values())
    return draw(st.one_of(st.just(by_name), junk, st.lists(junk, max_size=3)))
