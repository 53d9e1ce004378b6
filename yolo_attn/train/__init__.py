"""Train with pretrained weights kept, gates logged, and exact resume."""
