"""``python tools/make_subset.py ...`` is ``yolo-attn subset ...``, for use from a checkout."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["subset", *sys.argv[1:]]))
