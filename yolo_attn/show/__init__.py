"""Draw the gates and class activation maps of a trained model: ``yolo-attn show``."""
