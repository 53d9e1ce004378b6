"""Carry out one run in a process of its own: ``python -m yolo_attn.run_one FOLDER``; FOLDER holds ``spec.json``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import yaml

from yolo_attn import runs
from yolo_attn.env import environment
from yolo_attn.errors import YoloAttnError


def run(folder: Path) -> None:
    """Train and evaluate what a folder's spec says and write its result there."""
    from yolo_attn import engine, speed

    spec = runs.read_spec(folder)
    file = folder / f"{spec.arm}.yaml"
    file.write_text(yaml.safe_dump(dict(spec.model), sort_keys=False), encoding="utf-8")
    began = time.perf_counter()
    trained = engine.train(
        file, data=spec.data, weights=spec.weights, seed=spec.seed, save_dir=folder / "train", overrides=spec.overrides
    )
    seconds = time.perf_counter() - began
    imgsz = trained.imgsz
    metrics = engine.evaluate(trained.last, spec.data, imgsz=imgsz, overrides=spec.overrides)
    model = engine.open_model(trained.last, fuse=False)
    runs.write_json(
        folder / runs.RESULT,
        {
            "key": spec.key,
            "arm": spec.arm,
            "seed": spec.seed,
            "metrics": metrics,
            "epochs": trained.epochs,
            "imgsz": imgsz,
            "train_seconds": round(seconds, 1),
            "parameters": speed.count_parameters(model),
            "gflops": round(speed.count_gflops(model, imgsz), 6),
            "checkpoint": str(trained.last.relative_to(folder)),
            "environment": environment(trained.device),
        },
    )


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]).resolve())  # Ultralytics puts relative folders under its own
    except YoloAttnError as error:
        print(f"yolo-attn: {error}", file=sys.stderr)
        sys.exit(2)
