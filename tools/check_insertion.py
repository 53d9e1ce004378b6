"""Check on the installed Ultralytics' stock models that inserted attention changes nothing, and print the table.

``python tools/check_insertion.py [cases.csv [yolo11.yaml yolov8-p2.yaml ...]] [--blocks EMA,GAM] [--scales n]``;
without names all stock model YAMLs. ``--show`` checks nothing and prints the table of the CSV.
"""

from instruments.insertion import main

if __name__ == "__main__":
    main()
