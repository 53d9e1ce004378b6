"""Measure common copies of the blocks beside the authors' forms, and write the tables of docs/copies.md.

``python tools/measure_copies.py [--times] [--map yolo11n.pt DATA.yaml] [--only ELA ...] [--table]``: raw numbers in
docs/results/copies.json. Times (five minutes on one core) and the mAP of pretrained weights before any training (a
minute each) stay as stored where their flag is left out; ``--table`` measures nothing.
"""

import sys

from instruments.copies.command import main

if __name__ == "__main__":
    sys.exit(main())
