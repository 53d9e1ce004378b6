"""Measure the columns of the table of the blocks: cost beside SE, gain of a new block, what exports as PyTorch.

``python tools/measure_table.py [--cost] [--gain] [--exports] [--rounds 40] [--blocks EMA]``: without flags all three,
in some two minutes; with ``--blocks`` the cost of these alone. Exports are read from docs/results/export.
``python tools/update_generated.py`` then writes the tables.
"""

from instruments.block_measurements import main

if __name__ == "__main__":
    main()
