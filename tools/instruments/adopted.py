"""Write docs/results/adopted.md: model YAMLs of several dialects, and what ``yolo-attn adopt`` makes of each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

import yolo_attn as ya
from instruments.paths import RESULTS, TESTS
from yolo_attn.models.graph import rows_of
from yolo_attn.models.yaml_text import flow

FOLDER = TESTS / "fixtures" / "public_style"
FILES = (
    "forks/yolov5s-CBAM.yaml",
    "forks/yolov8-SEAttention.yaml",
    "forks/yolo12n-CoordAtt.yaml",
    "forks/yolo11-C3k2_ELA.yaml",
    "yolo11-SPPF_LSKA.yaml",
    "forks/yolov8-BiFPN.yaml",
)
PAGE = RESULTS / "adopted.md"


def page() -> str:
    """Return the text of the page."""
    parts = [
        "# Foreign model YAMLs, adopted",
        "",
        "What `yolo-attn adopt FORK.yaml -o mine.yaml --shift` makes of six model YAMLs, written for this page",
        "in the manner of public ones ([tests/fixtures/public_style](../../tests/fixtures/public_style)): what it",
        "prints, and the rows before (`-`) and after (`+`), where they differ. `python tools/show_adopted.py`",
        "writes this page. [One of them was trained](adopted-training.md).",
    ]
    for name in FILES:
        parts += _section(FOLDER / name)
    return "\n".join(parts) + "\n"


def _section(file: Path) -> list[str]:
    made = ya.adopt(file, shift=True)
    said = [*str(made).splitlines(), f"cannot be built yet: {made.error}" if made.error else "builds"]
    return ["", f"## {file.name}", "", "```", *said, "```", "", "```diff", *_changes(file, made.text), "```"]


def _changes(file: Path, text: str) -> list[str]:
    """Return the rows of two model YAMLs that differ, those of the second with their comments."""
    old, new = (rows_of(yaml.safe_load(given)) for given in (file.read_text(encoding="utf-8"), text))
    written = [line.strip() for line in text.splitlines() if line.startswith("  - [")]
    changed = [i for i, rows in enumerate(zip(old, new, strict=True)) if rows[0] != rows[1]]
    return [line for i in changed for line in (f"- {flow(old[i])}", f"+ {written[i].removeprefix('- ')}")]


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/show_adopted.py``: write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args(words)
    PAGE.write_text(page(), encoding="utf-8")
