"""Measurements and proofs behind the documentation; run from a checkout by the scripts in ``tools/``, not installed."""
