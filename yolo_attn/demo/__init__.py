"""Draw a small data set and run one comparison on it."""
