"""Measure how often intervals of mAP hold the true difference where classes are rare, and print the tables."""

from instruments.rare_classes import main

if __name__ == "__main__":
    main()
