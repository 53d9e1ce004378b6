"""Check the statistics on simulated comparisons (coverage, agreement, time, memory) and print the tables.

``python tools/check_statistics.py [EXPERIMENTS [EXPERIMENTS_WITH_MAP]]``; about half an hour with 4000 and 400.
"""

from instruments.statistics import main

if __name__ == "__main__":
    main()
