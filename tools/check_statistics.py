"""Check the statistics on simulated comparisons (coverage, agreement, time, memory) and print the tables.

``python tools/check_statistics.py [EXPERIMENTS [EXPERIMENTS_WITH_MAP]]``; about half an hour with 4000 and 400.
"""

import sys

from instruments.statistics import to_markdown

if __name__ == "__main__":
    print(to_markdown(lambda line: print(line, file=sys.stderr), *map(int, sys.argv[1:])))
