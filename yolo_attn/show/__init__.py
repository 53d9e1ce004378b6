"""What a trained model attends to, drawn: ``yolo-attn show``."""
