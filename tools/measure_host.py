"""Measure what a call of a block costs the host: fused form with kernels not launched, plain block, tutorial code.

``python tools/measure_host.py`` writes ``docs/results/host-cost.json`` and the tables of docs/fused.md; it needs Triton
and no GPU. ``--quick`` takes fewer rounds; ``--from`` writes the tables of stored figures.
"""

import sys

from instruments.host_cost import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
