"""``python tools/benchmark.py ...`` is ``yolo-attn bench ...``, for use from a checkout."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
