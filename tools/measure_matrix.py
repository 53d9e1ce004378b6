"""Time the runs of a comparison one after the other and several at a time, in fresh processes and as forks.

On a GPU: ``python tools/measure_matrix.py data.yaml --per-gpu 6 --device 0 epochs=5 imgsz=320 batch=32``. On the CPU:
``python tools/measure_matrix.py data.yaml --per-gpu 2 --device cpu --threads 1 epochs=1 imgsz=64 batch=8``.

By default 12 runs: yolo11n without and with three blocks, seeds 0, 1 and 2. ``--models a.yaml,b.yaml`` and
``--seeds 0,1`` name others, ``--way forked`` or ``--way fresh`` leaves one half out, ``--repeats 3`` gives medians;
further words are training arguments. Prints a table of seconds: of all runs by the clock, of the CPU in all, and on
average of a run by part, as in ``seconds`` of ``result.json``. Plan, timing of the models and report are not counted.
"""

from instruments.matrix import main

if __name__ == "__main__":
    main()
