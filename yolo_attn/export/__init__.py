"""Export models, compare the exported file with PyTorch, and pack models for use without this package."""
