"""``python tools/train.py ...`` is ``yolo-attn train ...``, for use from a checkout."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
