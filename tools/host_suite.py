"""Run Ultralytics' own tests plain and with yolo-attn in its place, and compare: ``python tools/host_suite.py``.

The tests come from the source distribution of the installed release; what they would download is replaced by stand-ins.
``--work FOLDER`` keeps both, and the outcomes of plain runs. ``--weights yolo11n.pt`` gives the tests a detector that
has been trained; ``--only test_cli`` and ``-k`` run a part, ``--jobs 2`` runs two files at a time. Writes
docs/results/host-suite.md. Exit code 1: a difference has no reason in ``instruments/host_suite/reasons.py``.
"""

import sys

from instruments.host_suite.command import host_suite

if __name__ == "__main__":
    sys.exit(host_suite())
