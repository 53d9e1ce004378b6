"""Find attention blocks in a model, record their gates and summarise them."""
