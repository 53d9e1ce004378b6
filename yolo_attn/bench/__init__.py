"""What an attention block costs, beside tutorial code and timm's, and how far that is from the floor."""
