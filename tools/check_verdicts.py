"""Count false verdicts, coverage and power in simulated comparisons, and print the tables."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each process has a processor of its own

from instruments.verdicts import main

if __name__ == "__main__":
    main()
