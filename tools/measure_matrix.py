"""Time a comparison of 12 short runs, one after the other and several at a time.

``python tools/measure_matrix.py data.yaml --per-gpu 6 --device 0 epochs=5 imgsz=320``; further words are training
arguments. Prints the seconds of both.
"""

from instruments.matrix import main

if __name__ == "__main__":
    main()
