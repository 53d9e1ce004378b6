"""Measure the blocks against tutorial code and timm on this CPU, and write docs/results/block-speed.md from that.

``python tools/measure_blocks.py [--launch] [--maps] [--quick] [--threads 1] [--from RAW.json]``: tiny maps, where calls
are all that costs; ordinary maps; without either flag both. Some 15 minutes on an idle machine; ``--quick`` some two.
"""

import sys

from instruments.block_speed import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
