"""The page of published numbers."""

from __future__ import annotations

from pathlib import Path

from instruments.paths import RESULTS
from instruments.published.cases import CASES, SOURCES, Case
from yolo_attn.blocks import ATTENTION_BLOCKS

PAGE = RESULTS / "published.md"

HEAD = """# Published numbers

Parameter counts that papers and releases print, and what the same network has with the block of this package at the
same places and with the same hyper-parameters. A network is built from the layers of torch and torchvision, as in
`tools/instruments/published`. A number *comes out* if the count, rounded as printed, is the printed one; *inferred*
marks what no source says and the number itself shows. `tests/blocks/test_published_counts.py` counts all of them
again. Sources were read on 2026-11-26. [Outputs of the authors' code](official-outputs.md) compares values.

Written by `python tools/update_generated.py`.
"""


def write_page() -> Path:
    """Write docs/results/published.md."""
    PAGE.write_text(as_markdown(), encoding="utf-8")
    return PAGE


def as_markdown() -> str:
    """Return the page."""
    order = {name: place for place, name in enumerate(ATTENTION_BLOCKS)}
    rows = sorted(CASES, key=lambda case: order[case.block.name])
    lines = [
        "| block | network, places | published | here | comes out | source |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    lines += [_row(case) for case in rows]
    without = [f"`{name}`" for name in ATTENTION_BLOCKS if name not in {case.block.name for case in CASES}]
    end = f"No printed number that could be read and rebuilt was found for {', '.join(without)}."
    return "\n".join([HEAD, *lines, "", end, ""])


def _row(case: Case) -> str:
    address, text = SOURCES[case.source]
    counted = "" if case.counted == "all" else f" ({case.counted})"
    verdict = f"**no**: {case.differs}" if case.differs else "yes" + (f"; {case.remark}" if case.remark else "")
    cells = [
        _words(case),
        case.network,
        case.figure,
        f"{case.count:,}{counted}",
        verdict,
        f"[{case.source}]({address}), {text}",
    ]
    return "| " + " | ".join(cells) + " |"


def _words(case: Case) -> str:
    """Return the block and its hyper-parameters, those that differ by width one after the other."""
    words = [
        f"{word}={', '.join(map(str, value.values())) if isinstance(value, dict) else value}"
        for word, value in case.block.arguments.items()
    ]
    return f"`{case.block.name}`" + (f" `{'; '.join(words)}`" if words else "")
