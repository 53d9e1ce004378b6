"""Differences between plain runs of the host's tests and runs with this package that are right, and why."""

REASONS: dict[str, str] = {
    "test_engine::test_checkpoint_nonfinite_ema_and_model_sanitized@trainers": "The weights are not finite after the "
    "first epoch. Ultralytics writes zeros in their place. Such a model looks trained and is not, so yolo-attn ends "
    "with an error (docs/training.md).",
}
"""By name of the test; after ``@`` the way it was run, where it is not the usual one."""
