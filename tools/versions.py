"""Try the contract on releases of Ultralytics, each in an environment of its own, and write the table.

``python tools/versions.py 8.3.0,torch==2.4.1,torchvision==0.19.1 8.4.0 8.4.190``: a release and, after commas, further
requirements; where torch is one, the blocks' own tests run too. Rows are appended to docs/results/versions.jsonl, and
docs/results/versions.md is written anew; without releases only the latter.
"""

import sys

from instruments.contract.command import versions

if __name__ == "__main__":
    sys.exit(versions())
