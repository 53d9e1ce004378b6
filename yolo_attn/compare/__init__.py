"""Plan a comparison, carry out its runs, and summarise the results."""
