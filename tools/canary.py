"""Try the contract on the newest release of Ultralytics that the package index has: ``python tools/canary.py``.

Prints a report. Exit code 1: the release breaks a promise; 2: it could not be tried. Fit to run weekly.
"""

import sys

from instruments.contract.command import canary

if __name__ == "__main__":
    sys.exit(canary())
