"""Run the command line as ``python -m yolo_attn.cli``."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main())
