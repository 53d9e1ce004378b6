"""Check on the installed Ultralytics' stock models that inserted attention changes nothing, and print the table.

``python tools/check_insertion.py [cases.csv [yolo11.yaml yolov8-p2.yaml ...]]``; without names all stock model YAMLs.
"""

import contextlib
import sys

from instruments.insertion import check, to_markdown

if __name__ == "__main__":
    save_to, *names = sys.argv[1:] or [None]
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
        cases = check(names, say=print, save_to=save_to)
    print(to_markdown(cases))
