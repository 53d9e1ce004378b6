"""``python tools/visualize.py ...`` is ``yolo-attn show ...``, for use from a checkout."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["show", *sys.argv[1:]]))
