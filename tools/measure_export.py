"""Measure which block exports to which format, and print the tables of ``docs/export.md``.

``python tools/measure_export.py FOLDER [--map WEIGHTS.pt DATA.yaml]``: raw lines in FOLDER/cells.jsonl; what is there
is not measured again, and ``--show`` measures nothing. Needs ``pip install 'yolo-attn[export]'``.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from instruments import export_matrix
from instruments.export_table import to_markdown

from yolo_attn.util.words import say

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--map", nargs=2, metavar=("WEIGHTS", "DATA"), help="validate exported models on these images")
    parser.add_argument("--map-blocks", default="none,ELA,SE,NL")
    parser.add_argument("--show", action="store_true", help="only print the tables of what was measured")
    given = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
        if not given.show:
            export_matrix.measure(given.folder, given.imgsz, say("export"))
            export_matrix.measure_speed(given.folder, given.imgsz, say("export"))
            export_matrix.write_environment(given.folder)
        if given.map and not given.show:
            export_matrix.measure_accuracy(given.folder, *given.map, given.map_blocks.split(","), 320, say("export"))
    print(to_markdown(export_matrix.read_lines(given.folder)))
