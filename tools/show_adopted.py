"""Write docs/results/adopted.md, what ``yolo-attn adopt`` makes of YAMLs: ``python tools/show_adopted.py``."""

from instruments.adopted import main

if __name__ == "__main__":
    main()
