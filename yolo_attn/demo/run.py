"""Run the main workflow on drawn data: make a COCO-format set, convert it, train two models, compare them.

Needs no network, no data and no weights. Results on drawn scenes say nothing about photographs.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_attn.compare.driver import compare
from yolo_attn.compare.folder import RUNS, read
from yolo_attn.compare.plan import Plan
from yolo_attn.compare.run_folder import CHECKPOINT
from yolo_attn.demo.scenes import make_scenes
from yolo_attn.errors import YoloAttnError
from yolo_attn.report.markdown import BRIEF, to_markdown
from yolo_attn.report.results import read_results
from yolo_attn.subset.convert import convert_coco

ARMS = ("yolo11n.yaml", "yolo11n-ela.yaml")
SCENES = {"train": 1000, "val": 200, "size": 128}
FAST_SCENES = {"train": 96, "val": 32, "size": 128}
RECIPE: dict[str, Any] = {
    "epochs": 6,
    "imgsz": 96,
    "batch": 16,
    "nbs": 16,  # a step per batch
    "optimizer": "AdamW",
    "lr0": 0.002,
    "lrf": 0.05,
    "weight_decay": 0.01,
    "warmup_epochs": 0.5,
    "warmup_bias_lr": 0.0,
    "amp": False,
    "cache": "ram",
    # the scenes vary enough; augmentation would only lengthen a short training
    **dict.fromkeys(("mosaic", "scale", "translate", "hsv_h", "hsv_s", "hsv_v", "erasing"), 0.0),
}
FAST = {"epochs": 2, "imgsz": 64}
SPEED_SECONDS = 3.0


def run_demo(out: Path, fast: bool = False, log: Callable[[str], None] = lambda line: None) -> str:
    """Draw the set, train and compare both models, and draw their predictions.

    Args:
        out: Folder for all files; complete parts of an earlier call are reused.
        fast: Train for seconds only, as a smoke test; the models learn nothing.
        log: Called with each line of progress.

    Returns:
        The table of results, and the path of every output.

    Raises:
        YoloAttnError: If the folder cannot be used, or a training failed.
    """
    out = out / "fast" if fast else out
    scenes: dict[str, Any] = FAST_SCENES if fast else SCENES
    log(f"drawing {scenes['train']} + {scenes['val']} scenes of {scenes['size']} px")
    data = convert_coco(make_scenes(out / "coco", **scenes), out / "yolo")
    recipe = {**RECIPE, **FAST} if fast else RECIPE
    note = "A smoke test: too short to learn." if fast else "Drawn scenes: these figures say nothing about photographs."
    plan = Plan(arms=ARMS, data=str(data), seeds=(0,), overrides=recipe, note=note)
    if failed := compare(plan, out / "compare", log=log, speed_seconds=SPEED_SECONDS):
        raise YoloAttnError("; ".join(failed))
    log("drawing predictions")
    places = {
        "data, COCO format": out / "coco",
        "data, YOLO format": data,
        "report": out / "compare" / "report.html",
        "predictions and ground truth": draw_predictions(out / "compare", data, recipe["imgsz"], out / "predictions"),
    }
    found = read_results(out / "compare")
    listed = [f"- {content}: {path}" for content, path in places.items()]
    again = f"- the same two models as finished trainings: {finished_command(out / 'compare', data)}"
    return "\n".join([to_markdown(found, sections=BRIEF), *listed, again])


def finished_command(comparison: Path, data: Path) -> str:
    """Return the command that compares the trained models of a comparison again, without training them.

    Args:
        comparison: Folder of the comparison.
        data: Data YAML.
    """
    runs = {result["arm"]: name for name, result in read(comparison).results.items()}
    files = [str(comparison / RUNS / runs[Path(arm).stem] / CHECKPOINT) for arm in ARMS]
    words = ["yolo-attn", "compare", "--finished", *files, "--data", str(data)]
    return shlex.join([*words, "-o", str(comparison.with_name("compare-finished"))])


def draw_predictions(comparison: Path, data: Path, imgsz: int, out: Path) -> Path:
    """Let Ultralytics plot the first batch of validation images with truth and with each model's predictions.

    Args:
        comparison: Folder of the comparison.
        data: Data YAML.
        imgsz: Side of the models' input, pixels.
        out: Folder to write ``truth.jpg`` and one picture named after each model into.

    Returns:
        ``out``.
    """
    from yolo_attn.train.yolo import YOLO

    out.mkdir(parents=True, exist_ok=True)
    runs = {result["arm"]: name for name, result in read(comparison).results.items()}
    settings = {"data": str(data), "imgsz": imgsz, "batch": 16, "workers": 0, "plots": True, "verbose": False}
    with tempfile.TemporaryDirectory() as folder:
        for arm, run in runs.items():
            others = set(threading.enumerate())
            YOLO(comparison / RUNS / run / CHECKPOINT).val(**settings, project=folder, name=arm)
            for plotting in set(threading.enumerate()) - others:
                plotting.join()
            shutil.copy(Path(folder) / arm / "val_batch0_labels.jpg", out / "truth.jpg")
            shutil.copy(Path(folder) / arm / "val_batch0_pred.jpg", out / f"{arm}.jpg")
    return out
