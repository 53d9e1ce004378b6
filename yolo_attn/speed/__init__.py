"""Count GFLOPs and time models side by side."""
