"""Print how many cases of the fused forms were compared, and the worst relative error by dtype."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from yolo_attn.util.markdown import table

if TYPE_CHECKING:
    from instruments.fused_cases import Case


def worst(cases: Iterable[Case], device: str) -> tuple[int, dict[tuple[str, str], float]]:
    """Return the number of cases, and the largest error by dtype and kind of value."""
    from instruments.fused_cases import errors

    number, found = 0, {}
    for number, case in enumerate(cases, 1):  # noqa: B007
        for name, error in errors(case, device).items():
            kind = {"y": "result", "x": "gradient of the map"}.get(name, "parameters and statistics")
            key = str(case.dtype)[6:], kind
            found[key] = max(found.get(key, 0.0), error)
    return number, found


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/check_fused.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu (interpreted) or cuda")
    parser.add_argument("--only", nargs="+", help="names of blocks; all with a fused form by default")
    given = parser.parse_args(words)
    if given.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # decides when Triton is imported
    from instruments.fused_cases import BOUNDS, FUSED, LARGE, SMALL, cases

    dtypes = [str(dtype)[6:] for dtype in BOUNDS]
    kinds = ("result", "gradient of the map", "parameters and statistics")
    rows = []
    for name in given.only or FUSED:
        number, found = worst(cases(name, SMALL if given.device == "cpu" else (*SMALL, *LARGE)), given.device)
        figures = [f"{found[dtype, kind]:.1e}" if (dtype, kind) in found else "" for dtype in dtypes for kind in kinds]
        rows.append([name, str(number), *figures])
    head = ["block", "cases", *(f"{dtype}: {kind}" for dtype in dtypes for kind in kinds)]
    print("\n".join(table(head, rows)))
