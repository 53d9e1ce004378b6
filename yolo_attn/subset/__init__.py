"""Parts of a detection set: read annotations, choose images, write a YOLO set and say what was chosen."""
