"""Run the host's own tests plain and with this package in its place, and explain every difference."""
