"""State what common copies of the blocks compute as modules, and measure what follows from it."""
