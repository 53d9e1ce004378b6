"""Count false verdicts, coverage and power in simulated comparisons, and print the tables."""

from instruments.verdicts import main

if __name__ == "__main__":
    main()
