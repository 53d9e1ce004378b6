"""Check that rows of public model YAMLs mean what their authors meant: ``python tools/check_public_rows.py``."""

import sys

from instruments.public_rows import main

if __name__ == "__main__":
    sys.exit(main())
