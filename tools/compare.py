"""``python tools/compare.py ...`` is ``yolo-attn compare ...``, for use from a checkout."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
