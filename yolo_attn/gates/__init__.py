"""Find attention blocks in a model, record their gates and summarise them."""

GATES = "gates.csv"
"""Name of the gate log in a run's folder."""
