"""What ``tools/fuzz.py`` and ``tools/check_robustness.py`` are asked for."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "true")
FOLDER = Path("runs/robustness")


def fuzz() -> int:
    """Try random cases; return 1 where some failed, else 0."""
    parser = argparse.ArgumentParser(description="Try random models, insertions and command lines.")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind of case: models | inserts | command lines | sets")
    parser.add_argument("--go-on", action="store_true", help="try all cases, however many fail; nothing is made smaller")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER / "fuzz.jsonl", help="raw lines")
    asked = parser.parse_args()
    from robustness.campaign import run_all

    say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    return int(bool(run_all(asked.cases, asked.seed, asked.output.resolve(), say, asked.only, asked.go_on)))
