"""Measure the cost of attention blocks against tutorial code, timm's blocks and the lower bound of any block."""
