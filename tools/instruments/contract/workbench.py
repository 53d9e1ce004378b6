"""Where the checks of the contract work: a folder with drawn images and random weights, and processes apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {
    "imgsz": 64,
    "batch": 8,
    "nbs": 8,
    "optimizer": "SGD",
    "lr0": 0.001,
    "warmup_epochs": 0,
    "workers": 0,
    "plots": False,
    "device": "cpu",
}
PROCESS_SECONDS = 600


class NotHere(Exception):  # noqa: N818
    """What is to be checked does not exist in the installed releases, for the reason given."""


class Workbench:
    """Folder, data and weights for the checks; what a check makes for those after it.

    Args:
        folder: Folder for everything that is made.
        quick: Try a few models of a kind instead of all of them.
    """

    def __init__(self, folder: Path, quick: bool = False):
        from yolo_attn.demo.scenes import make_scenes
        from yolo_attn.subset.convert import convert_coco

        self.folder, self.quick = folder.resolve(), quick
        self.data = convert_coco(make_scenes(folder / "coco", train=16, val=8, size=64, seed=1), folder / "yolo")
        self.image = next((self.data.parent / "images" / "val").glob("*.jpg"))
        self.weights = self._random_weights()
        self._trained: Path | None = None

    def _random_weights(self) -> Path:
        import torch
        import ultralytics

        torch.manual_seed(0)
        path = self.folder / "base.pt"
        torch.save({"model": ultralytics.YOLO("yolo11n.yaml").model, "train_args": {}}, path)
        return path

    @property
    def trained(self) -> Path:
        """The checkpoint that ``trains`` makes."""
        if self._trained is None:
            raise NotHere("needs the checkpoint of 'trains'")
        return self._trained

    def settings(self, name: str, **changed: Any) -> dict[str, Any]:
        """Return training arguments for a run of this name."""
        given = {"data": str(self.data), "epochs": 1, "project": str(self.folder / "runs"), "name": name}
        return {**TINY, **given, "exist_ok": True, **changed}

    def python(self, *words: str, **variables: str) -> str:
        """Run Python in a process of its own, in another folder; return its output, or fail with the last line."""
        apart = self.folder / "elsewhere"
        apart.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, *words],
            cwd=apart,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=PROCESS_SECONDS,
        )
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()
            raise RuntimeError(f"exit code {done.returncode}: {said[-1]}")
        return done.stdout
