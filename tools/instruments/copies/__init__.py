"""What common copies of the blocks compute, stated as modules, and measurements of what follows from it."""
