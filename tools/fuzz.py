"""Try random models, insertions and command lines, and print the smallest case that fails.

``python tools/fuzz.py --cases 5000 --seed 0 [-o runs/robustness/fuzz.jsonl]``; needs the extra ``dev``. About a second
for ten cases. Exit 1 if something failed; docs/robustness.md defines what counts as a failure.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "campaign")]

if __name__ == "__main__":
    from robustness.command import fuzz

    sys.exit(fuzz())
