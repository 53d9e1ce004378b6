"""Measurements and proofs behind the documentation; run from a checkout by the scripts in ``tools/``, not installed."""

from yolo_attn.util.printing import take_any_text

take_any_text()  # tables and progress are printed whatever the encoding
