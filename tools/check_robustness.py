"""Run every test of faults, and write docs/results/robustness.md from their outcomes and the last fuzzing.

``python tools/check_robustness.py [--raw runs/robustness] [--page-only]``; needs the extra ``dev`` and the lines that
tools/fuzz.py wrote. About a quarter of an hour on two cores. Exit 1 where something failed.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "campaign")]

if __name__ == "__main__":
    from robustness.command import check

    sys.exit(check())
