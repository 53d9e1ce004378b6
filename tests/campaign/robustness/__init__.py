"""Random cases and faults, what counts as a failure, and the page that says how many were tried."""
