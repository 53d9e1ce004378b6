"""Command lines of ``tools/fuzz.py`` and ``tools/check_robustness.py``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("YOLO_OFFLINE", "true")
FOLDER = Path("runs/robustness")
TESTS = Path(__file__).resolve().parents[2]


def fuzz() -> int:
    """Try random cases; return 1 where some failed, else 0."""
    parser = argparse.ArgumentParser(description="Try random models, insertions and command lines.")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind of case: models | inserts | command lines")
    parser.add_argument(
        "--go-on", action="store_true", help="try all cases, however many fail; nothing is made smaller"
    )
    parser.add_argument("-o", "--output", type=Path, default=FOLDER / "fuzz.jsonl", help="raw lines")
    asked = parser.parse_args()
    from robustness.campaign import run_all

    log = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    return int(bool(run_all(asked.cases, asked.seed, asked.output.resolve(), log, asked.only, asked.go_on)))


def check() -> int:
    """Try the faults, and write the page from them and the stored random cases; return 1 where something failed."""
    parser = argparse.ArgumentParser(description="Try every fault, and write docs/results/robustness.md.")
    parser.add_argument("--raw", type=Path, default=FOLDER, help="folder of the raw lines (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=Path("docs/results/robustness.md"))
    parser.add_argument("--page-only", action="store_true", help="try nothing: write the page again from the raw lines")
    asked = parser.parse_args()
    os.environ["YOLO_ATTN_EVERY_MOMENT"] = "1"
    from robustness import page
    from yolo_attn.util import jsonl
    from yolo_attn.util.env import environment
    from yolo_attn.util.files import write_whole

    raw = asked.raw.resolve()
    if not (raw / "fuzz.jsonl").is_file():
        sys.exit(f"there is no {asked.raw / 'fuzz.jsonl'}: run tools/fuzz.py first")
    stored = raw / "faults.jsonl"
    faults = jsonl.read(stored) if asked.page_only else page.try_faults(TESTS, stored)
    env = environment("cpu")
    about = f"On {env['cpu']}, Python {env['python']}, torch {env['torch']}, ultralytics {env['ultralytics']}."
    cases = jsonl.read(raw / "fuzz.jsonl")
    write_whole(asked.page, page.to_markdown(cases, faults, about))
    return int(any(line.get("outcome") == "failed" for line in [*cases, *faults]))
