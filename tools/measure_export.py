"""Measure which block exports to which format, and print the tables of ``docs/export.md``.

``python tools/measure_export.py FOLDER [--map WEIGHTS.pt DATA.yaml]``: raw lines in FOLDER/cells.jsonl; what has a line
is not measured again, and ``--show`` measures nothing. Needs ``pip install 'yolo-attn[export]'``.
"""

from instruments.export_matrix import main

if __name__ == "__main__":
    main()
