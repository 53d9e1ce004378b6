"""Random calls of ``insert``."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from robustness.models import HOSTS, STOCK, small_models
from robustness.values import block_names, hyper_values, junk, misspelled, mostly, words

PLACES = ["neck:P3,P4,P5", "neck:all", "backbone:P4", "backbone:all", "sppf", "pre-detect", "after:4", "before:9"]
PLACES += ["neck", "backbone", "after:0,1,2", "before:0", "after:-1", "after:1e3", "neck:P9", "neck:P3;sppf", ""]
INSIDE = [*HOSTS, "C3k2@inner", "C3k2@outer", "C2f@inner", "C2f,SPPF", "Conv@outer", "C3k2@", "@inner", "", "Detect"]
NOT_HYPER = {"base", "block", "at", "inside"}


class Call(NamedTuple):
    """The arguments of one call."""

    base: Any
    block: Any
    at: Any
    inside: Any
    hyper: dict[str, Any]


sites = st.lists(
    mostly(st.sampled_from(PLACES), st.one_of(misspelled([p for p in PLACES if p]), words), of=8),
    min_size=1,
    max_size=2,
).map(";".join)
bases = mostly(
    st.one_of(st.sampled_from(STOCK), small_models()),
    st.one_of(junk, st.sampled_from(["none.yaml", "none.pt", ".", "yolo11n", "yolo11q.yaml", "coco8.yaml"])),
    of=12,
)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw a call: one block or several, anywhere, with some of it invalid now and then."""
    name = draw(block_names)
    at = draw(mostly(st.one_of(st.none(), sites), st.one_of(junk, st.lists(sites, max_size=2)), of=12))
    block: Any = name
    if draw(st.integers(0, 4)) == 4:
        pair = st.tuples(block_names, st.one_of(st.none(), sites))
        triple = st.tuples(block_names, sites, hyper_values(name))
        block = draw(mostly(st.lists(st.one_of(pair, triple), max_size=3), junk, of=5))
    inside = draw(
        mostly(st.none(), mostly(st.sampled_from(INSIDE), st.one_of(misspelled(INSIDE[:8]), junk), of=6), of=3)
    )
    given = draw(hyper_values(name))
    hyper = {str(k): v for k, v in given.items() if str(k) not in NOT_HYPER} if isinstance(given, dict) else {}
    return Call(draw(bases), block, at, inside, hyper)
