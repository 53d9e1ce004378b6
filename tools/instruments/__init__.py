"""Scripts' bodies that prove and measure for the docs; run from a checkout, not installed."""
