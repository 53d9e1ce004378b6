"""``python tools/insert.py ...`` is ``yolo-attn insert ...``, for use from a checkout."""

import sys

from yolo_attn.cli import main

if __name__ == "__main__":
    sys.exit(main(["insert", *sys.argv[1:]]))
