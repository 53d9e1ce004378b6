"""Recognise the checkpoint of a complete training, which cannot be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def epochs_if_complete(checkpoint: Mapping[str, Any] | None) -> int | None:
    """Return after how many epochs a training ended, or ``None`` if its checkpoint can be resumed or tells nothing.

    Args:
        checkpoint: The loaded checkpoint; at the end of a training it loses the state of the optimizer.
    """
    if not checkpoint or "epoch" not in checkpoint:
        return None
    planned = (checkpoint.get("train_args") or {}).get("epochs") or 0
    if checkpoint["epoch"] >= 0 and checkpoint.get("optimizer") is not None:
        begun = checkpoint["epoch"] + 1
        return begun if begun >= planned else None
    results = checkpoint.get("train_results") or {}
    return len(results.get("epoch", ())) or planned


def is_in_run_folder(checkpoint: str | Path | None) -> bool:
    """Tell whether a checkpoint lies where a training wrote it, unlike e.g. official weights."""
    return checkpoint is not None and (Path(checkpoint).resolve().parents[1] / "args.yaml").is_file()


def describe(checkpoint: str | Path, epochs: int) -> str:
    """Describe a complete training in one line, and how to train its model on."""
    best = Path(checkpoint).with_name("best.pt")
    model = best if best.is_file() else checkpoint
    return (
        f"nothing to resume: the training of '{checkpoint}' is complete after {epochs} epochs; to train on, start "
        f"another one from it: model={model} epochs=..., without resume"
    )
