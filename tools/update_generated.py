"""Regenerate all files that are derived from the blocks: ``python tools/update_generated.py``.

Those are the facts that `yolo-attn blocks` shows, the model YAMLs, the tables in README.md and docs/blocks.md,
docs/results/published.md, and the tables of figures on the Chinese pages.
"""

from instruments.generated import main

if __name__ == "__main__":
    main()
