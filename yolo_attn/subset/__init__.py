"""Make subsets of detection sets: read annotations, choose images, write a YOLO set and its summary."""
