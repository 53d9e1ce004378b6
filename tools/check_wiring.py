"""Count false and missed alarms about unread and rewired rows: ``python tools/check_wiring.py``."""

import sys

from instruments.wiring import main

if __name__ == "__main__":
    sys.exit(main())
