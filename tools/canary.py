"""Try the contract on the newest release of Ultralytics that the package index has: ``python tools/canary.py``.

Prints a report; exits with 1 if the release breaks a promise, with 2 if it could not be tried. Fit to run weekly.
"""

import sys

from instruments.contract.command import try_newest

if __name__ == "__main__":
    sys.exit(try_newest())
