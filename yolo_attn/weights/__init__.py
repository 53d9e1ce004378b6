"""Transfer pretrained weights to the layers they belong to, and report what was transferred."""
