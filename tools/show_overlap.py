"""Show how runs start beside each other, with sleeping stand-ins for trainings: ``python tools/show_overlap.py``.

A stand-in waits as long as a short run on one H100, divided by ``--faster 20``; ``--runs 12``, ``--cores 16``. This
simulates waiting, not what a GPU can do: on a GPU runs also slow each other down.
"""

from instruments.overlap import main

if __name__ == "__main__":
    main()
