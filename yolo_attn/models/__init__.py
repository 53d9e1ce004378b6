"""Insert blocks into model YAMLs, and describe blocks and models."""
